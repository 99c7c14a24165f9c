//! Records the events of a queue that Python uses.

use std::sync::Arc;

use virtmesh_device::{EventKind, TraceEvent, now};
use virtmesh_ring::{Segment, chain_totals};

use crate::recorder::Recorder;

/// The recorder of a queue, if it has one, and the index of the queue.
pub struct QueueRecorder {
    recorder: Option<Arc<virtmesh_device::Recorder>>,
    index: usize,
}

impl QueueRecorder {
    pub fn new(recorder: Option<&Recorder>, index: usize) -> Self {
        let on = recorder.filter(|recorder| recorder.inner.capacity() > 0);
        Self {
            recorder: on.map(|recorder| Arc::clone(&recorder.inner)),
            index,
        }
    }

    /// The time, for an event that is recorded later; 0 without a recorder.
    pub fn time(&self) -> u64 {
        self.recorder.as_ref().map_or(0, |_| now())
    }

    /// Record an event of the queue itself.
    pub fn record_event(&self, kind: EventKind) {
        if let Some(recorder) = &self.recorder {
            recorder.record(TraceEvent::on_queue(kind, self.index));
        }
    }

    /// Record a chain that is added or popped.
    pub fn record_chain(
        &self,
        kind: EventKind,
        time: u64,
        head: u16,
        readable: &[Segment],
        writable: &[Segment],
    ) {
        let Some(recorder) = &self.recorder else {
            return;
        };
        let (descriptors, bytes) = chain_totals(readable, writable);
        let event = TraceEvent::of_chain(kind, self.index, head, descriptors as u64, bytes);
        recorder.record_at(time, [event]);
    }

    /// Record chains that are pushed or popped as used, now.
    pub fn record_used(&self, kind: EventKind, used: &[(u16, u32)]) {
        let Some(recorder) = self.recorder.as_ref().filter(|_| !used.is_empty()) else {
            return;
        };
        let events = used.iter().map(|&(head, written)| {
            TraceEvent::of_chain(kind, self.index, head, written.into(), 0)
        });
        recorder.record_at(now(), events);
    }
}
