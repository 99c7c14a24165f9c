//! An engine that does nothing: every request succeeds, and no byte is moved. It shows what the rest costs.

use std::sync::Arc;

use super::Engine;
use crate::job::{CompletionSink, Job};
use crate::request::Used;

/// Completes each request at once.
pub struct NullEngine;

impl Engine for NullEngine {
    fn submit(&self, jobs: &mut dyn Iterator<Item = Job>, done: &mut Vec<Used>) {
        let mut free_ns = 0;
        for job in jobs {
            free_ns = job.started_ns.max(free_ns);
            done.extend(self.execute(job, &mut free_ns));
        }
    }

    fn execute(&self, mut job: Job, free_ns: &mut u64) -> Option<Used> {
        if job.is_immediate() {
            job.is_last_try = true; // Nobody would try it again.
            return job.execute(free_ns).used();
        }
        job.begin(*free_ns);
        Some(job.succeed(free_ns))
    }

    fn discard(&self, _sink: &Arc<dyn CompletionSink>) {}

    fn retry(&self, _is_last_try: bool) {}

    fn detach(&self) {}
}
