//! Jobs that wait for a thread, in a lane for each queue: the lanes take turns.
//!
//! In one line, a queue with hundreds of requests in flight would keep each request of the others waiting
//! for all of them. In turns, whoever has one request waits for one of each other queue.

use std::collections::VecDeque;

use crate::job::Job;

/// Lanes, whose turn comes first to last. None is empty.
#[derive(Default)]
pub(crate) struct Lanes(VecDeque<Lane>);

struct Lane {
    queue: usize,
    jobs: VecDeque<Job>,
}

impl Lanes {
    /// True if no job waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Add a job to the lane of its queue. A lane that was empty has its turn last.
    pub(crate) fn add(&mut self, queue: usize, job: Job) {
        // A device has 64 queues at most.
        if let Some(lane) = self.0.iter_mut().find(|lane| lane.queue == queue) {
            lane.jobs.push_back(job);
            return;
        }
        let jobs = VecDeque::from([job]);
        self.0.push_back(Lane { queue, jobs });
    }

    /// The queues of the lanes, in turn.
    pub(crate) fn queues(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|lane| lane.queue)
    }

    /// Take the next job of the lane at a place. Its turn is over then.
    pub(crate) fn take(&mut self, place: usize) -> Option<Job> {
        let mut lane = self.0.remove(place)?;
        let job = lane.jobs.pop_front();
        if !lane.jobs.is_empty() {
            self.0.push_back(lane);
        }
        job
    }

    /// Take all jobs of one queue out.
    pub(crate) fn take_of(&mut self, queue: usize) -> VecDeque<Job> {
        let place = self.0.iter().position(|lane| lane.queue == queue);
        place
            .and_then(|place| self.0.remove(place))
            .map_or_else(VecDeque::new, |lane| lane.jobs)
    }
}
