//! Faults of the transport, which devices of every kind can have: interrupts, notifications, queues, and
//! what is told of chains that are given back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::faults::later::release_after;
use crate::faults::rule::{About, FaultKind};
use crate::faults::table::Hit;
use crate::interrupt::Interrupt;
use crate::trace_event::SMALL_MAX;

const INTERRUPTS: u64 = FaultKind::LostInterrupt.bit()
    | FaultKind::LateInterrupt.bit()
    | FaultKind::DoubleInterrupt.bit();
const LIES: u64 = FaultKind::WrongLength.bit() | FaultKind::WrongId.bit();
/// Most bytes by which a wrong length is too long, where nothing else is said.
const TOO_LONG: u64 = 1 << 16;

/// An interrupt of a virtio device.
#[derive(Debug, Clone, Copy)]
pub enum Raised {
    /// A buffer of this queue was used.
    Used(usize),
    /// The configuration has changed.
    Config,
}

impl Interrupt {
    /// Make one that faults can raise later.
    ///
    /// # Errors
    /// Those of [`Interrupt::new`].
    pub fn shared() -> io::Result<Arc<Self>> {
        let one = Arc::new(Self::new()?);
        // It is new: nobody has set it.
        let _ = one.faults().interrupt.set(Arc::downgrade(&one));
        Ok(one)
    }

    /// Ask whether a fault takes an interrupt. True if it does: then nothing is left to do.
    pub(crate) fn is_altered(&self, raised: Raised) -> bool {
        // Nearly always nothing is ordered.
        if !self.faults().are_ordered(INTERRUPTS) {
            return false;
        }
        let about = match raised {
            Raised::Used(queue) => on_queue(queue),
            Raised::Config => on_queue(usize::from(SMALL_MAX)),
        };
        let Some(hit) = self.take_fault(INTERRUPTS, &about, spell_delay) else {
            return false;
        };
        if hit.kind == FaultKind::DoubleInterrupt {
            self.deliver(raised);
        }
        if hit.kind != FaultKind::LostInterrupt {
            self.raise_later(raised, hit.delay.unwrap_or_default());
        }
        true
    }

    /// Ask whether a notification of the driver is lost.
    #[must_use]
    pub fn loses_notification(&self, queue: usize) -> bool {
        let kinds = FaultKind::LostNotification.bit();
        let hit = self.take_fault(kinds, &on_queue(queue), |_| None);
        hit.is_some()
    }

    /// True while a fault is ordered that keeps a queue from being looked at when it is notified.
    #[must_use]
    pub fn may_miss_notifications(&self) -> bool {
        let kinds = FaultKind::LostNotification.bit() | FaultKind::StuckQueue.bit();
        self.faults().are_ordered(kinds)
    }

    /// Ask how many chains may be taken from a queue at once, of `most`: one by one where a fault may
    /// get it stuck. None once it is stuck.
    #[must_use]
    pub fn most_taken(&self, queue: usize, most: usize) -> Option<usize> {
        let (kinds, about) = (FaultKind::StuckQueue.bit(), on_queue(queue));
        if !self.faults().are_ordered(kinds) {
            return Some(most);
        }
        let stuck = self.is_stuck(queue) || self.take_fault(kinds, &about, |_| None).is_some();
        (!stuck).then_some(1)
    }

    /// True while a queue is not looked at any more, since a fault has got it stuck.
    #[must_use]
    pub fn is_stuck(&self, queue: usize) -> bool {
        let (kind, about) = (FaultKind::StuckQueue, on_queue(queue));
        self.faults().are_ordered(kind.bit()) && self.faults().holds(kind, &about)
    }

    /// True while a fault is ordered that tells something wrong of chains.
    #[must_use]
    pub fn may_lie(&self) -> bool {
        self.faults().are_ordered(LIES)
    }

    /// Ask what is told of a chain that is given back: its head and the bytes written to it. None for the
    /// truth. `size` is that of the queue.
    #[must_use]
    pub fn lie(&self, queue: usize, size: u16, used: (u16, u32)) -> Option<(u16, u32)> {
        let about = About {
            token: used.0.into(),
            ..on_queue(queue)
        };
        let told = |hit: &Hit| told_of(hit, size, used);
        let describe = |hit: &Hit| {
            let (head, written) = told(hit);
            Some(format!(
                "chain {} of {} bytes is given back as chain {head} of {written}",
                used.0, used.1
            ))
        };
        self.take_fault(LIES, &about, describe)
            .map(|hit| told(&hit))
    }

    fn raise_later(&self, raised: Raised, delay: Duration) {
        let Some(interrupt) = self.faults().interrupt.get().cloned() else {
            self.deliver(raised);
            return;
        };
        let raise = move || {
            if let Some(interrupt) = interrupt.upgrade() {
                interrupt.deliver(raised);
            }
        };
        release_after(delay, Box::new(raise));
    }
}

/// What is told of a chain, where a fault takes it.
fn told_of(hit: &Hit, size: u16, (head, written): (u16, u32)) -> (u16, u32) {
    if hit.kind == FaultKind::WrongLength {
        let longer = 1 + hit.draw(0) % TOO_LONG;
        let told = hit.bytes.unwrap_or(u64::from(written) + longer);
        return (head, u32::try_from(told).unwrap_or(u32::MAX));
    }
    // Any but its own.
    let others = u64::from(size.saturating_sub(1)).max(1);
    let told = (u64::from(head) + 1 + hit.draw(0) % others) % u64::from(size.max(1));
    (u16::try_from(told).unwrap_or(0), written)
}

fn on_queue(queue: usize) -> About {
    About {
        queue: u8::try_from(queue).unwrap_or(SMALL_MAX).min(SMALL_MAX),
        ..About::default()
    }
}

fn spell_delay(hit: &Hit) -> Option<String> {
    hit.delay
        .map(|delay| format!("{} us later", delay.as_micros()))
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
