//! What the driver is told of chains that are given back: the truth, unless a fault on demand lies.

use virtmesh_device::Interrupt;
use virtmesh_ring::{RingError, UsedProducer};

use crate::request::Used;

/// Chains that are given back.
pub struct Told<'used> {
    used: &'used [Used],
    /// Each chain, and what is told of it. Empty where that is the truth of all.
    lies: Vec<(u16, Used)>,
}

impl<'used> Told<'used> {
    /// Chains of a queue with `size` entries.
    pub fn of(interrupt: &Interrupt, queue: usize, size: u16, used: &'used [Used]) -> Self {
        let mut lies = Vec::new();
        if interrupt.may_lie() {
            let told = |one: &Used| (one.0, interrupt.lie(queue, size, *one).unwrap_or(*one));
            lies = used.iter().map(told).collect();
        }
        Self { used, lies }
    }

    /// The heads and lengths that are told.
    pub fn each(&self) -> impl ExactSizeIterator<Item = Used> {
        (0..self.used.len()).map(|index| match self.lies.get(index) {
            Some((_, told)) => *told,
            None => self.used[index],
        })
    }

    /// Give them back.
    ///
    /// # Errors
    /// Those of [`UsedProducer::push_batch`].
    pub fn push(&self, producer: &mut UsedProducer) -> Result<(), RingError> {
        if self.lies.is_empty() {
            producer.push_batch(self.used)
        } else {
            producer.push_as(&self.lies)
        }
    }
}
