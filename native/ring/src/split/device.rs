//! The device side of a split virtqueue, in two halves that may live on two threads.
//!
//! Invariant: there is one [`Popper`] and one [`Pusher`] per ring. The popper alone writes
//! `used.flags` and `avail_event`; the pusher alone writes `used.ring` and `used.idx`. They share
//! nothing but [`Heads`].

use std::sync::atomic::Ordering;

use super::heads::Heads;
use super::walk::read_chain;
use crate::chain::Chain;
use crate::error::{ConfigError, RingError};
use crate::layout::{
    Areas, QueueConfig, RING_FLAGS, RING_IDX, VIRTQ_AVAIL_F_NO_INTERRUPT, VIRTQ_USED_F_NO_NOTIFY,
    avail_offset, need_event, never_event, used_offset,
};
use crate::memory::{GuestRam, RingArea, RingMemory};

/// Takes available chains, and says when it wants to hear of more.
pub struct Popper<M: RingMemory = GuestRam> {
    memory: M,
    areas: Areas<M::Area>,
    config: QueueConfig,
    heads: Heads,
    /// Next entry of the available ring to take.
    next_avail: u16,
    /// `avail.idx` as last read: entries before it are ours to take.
    avail_idx: u16,
    broken: Option<RingError>,
}

impl<M: RingMemory> Popper<M> {
    /// Take the next available chain. None when there is none.
    ///
    /// # Errors
    /// The rule the driver broke; from then on the same error always.
    pub fn pop(&mut self) -> Result<Option<Chain>, RingError> {
        self.guard(Self::take)
    }

    /// Take up to `max` available chains onto the end of `chains`; returns how many.
    ///
    /// # Errors
    /// As [`pop`](Self::pop). Chains before the bad one are in `chains` and held by the device.
    pub fn pop_batch(&mut self, max: usize, chains: &mut Vec<Chain>) -> Result<usize, RingError> {
        for taken in 0..max {
            match self.pop()? {
                Some(chain) => chains.push(chain),
                None => return Ok(taken),
            }
        }
        Ok(max)
    }

    /// Ask to be notified of the next available chain. True when one waits already: then take it, and
    /// don't wait for a notification, which may not come.
    ///
    /// # Errors
    /// As [`pop`](Self::pop).
    pub fn enable_notifications(&mut self) -> Result<bool, RingError> {
        self.guard(|popper| {
            if popper.config.event_idx {
                popper.set_avail_event(popper.next_avail);
            } else {
                popper.areas.device.store(RING_FLAGS, 0, Ordering::Relaxed);
            }
            // Race: the driver publishes a chain and, seeing the old word, doesn't notify, while we
            // see no chain and sleep. With this fence between our store and the load below, and the
            // driver's between its store and its load (`DriverQueue::should_notify`), one of us sees
            // the other.
            popper.memory.full_fence();
            Ok(popper.refresh()? > 0)
        })
    }

    /// Ask for no notifications while chains are being taken anyway. A hint: some may still come.
    pub fn disable_notifications(&mut self) {
        if self.config.event_idx {
            self.set_avail_event(never_event(self.next_avail));
        } else {
            self.areas
                .device
                .store(RING_FLAGS, VIRTQ_USED_F_NO_NOTIFY, Ordering::Relaxed);
        }
    }

    /// Next entry of the available ring to take, free-running.
    #[must_use]
    pub fn next_avail(&self) -> u16 {
        self.next_avail
    }

    /// Do something to a ring that is not broken; an error breaks it.
    fn guard<T>(
        &mut self,
        action: impl FnOnce(&mut Self) -> Result<T, RingError>,
    ) -> Result<T, RingError> {
        match self.broken {
            Some(error) => Err(error),
            None => action(self).inspect_err(|error| self.broken = Some(*error)),
        }
    }

    fn take(&mut self) -> Result<Option<Chain>, RingError> {
        // `avail.idx` is read once for all the chains it shows.
        if self.next_avail == self.avail_idx && self.refresh()? == 0 {
            return Ok(None);
        }
        let size = self.config.size;
        let slot = self.next_avail % size;
        let head = self.areas.driver.read_u16(avail_offset(slot));
        if head >= size {
            return Err(RingError::HeadOutOfRange { slot, head, size });
        }
        if !self.heads.take(head) {
            return Err(RingError::HeadInFlight { head });
        }
        let chain = read_chain(&self.memory, &self.areas.descriptors, &self.config, head)?;
        self.next_avail = self.next_avail.wrapping_add(1);
        Ok(Some(chain))
    }

    /// Read `avail.idx`; returns how many chains wait.
    fn refresh(&mut self) -> Result<u16, RingError> {
        // Acquire pairs with the driver's release: what the index shows (ring entries, descriptors,
        // buffers) was written before it.
        let idx = self.areas.driver.load(RING_IDX, Ordering::Acquire);
        let (from, size) = (self.next_avail, self.config.size);
        let waiting = idx.wrapping_sub(from);
        if waiting > size {
            return Err(RingError::AvailIndexJumped {
                from,
                to: idx,
                size,
            });
        }
        self.avail_idx = idx;
        Ok(waiting)
    }

    fn set_avail_event(&self, event: u16) {
        let offset = used_offset(self.config.size);
        self.areas.device.store(offset, event, Ordering::Relaxed);
    }
}

/// Gives chains back as used, and says when the driver wants to hear of it.
pub struct Pusher<M: RingMemory = GuestRam> {
    memory: M,
    areas: Areas<M::Area>,
    config: QueueConfig,
    heads: Heads,
    /// Next entry of the used ring to fill; `used.idx` once published.
    next_used: u16,
    /// Entries published since the driver's wish was last looked at.
    added: u32,
    broken: Option<RingError>,
}

impl<M: RingMemory> Pusher<M> {
    /// Give a chain back, with the bytes written from its first device-writable byte on (2.7.8).
    ///
    /// # Errors
    /// `NotInFlight`; nothing was published, and the same error follows always.
    pub fn push(&mut self, head: u16, written: u32) -> Result<(), RingError> {
        self.push_batch(&[(head, written)])
    }

    /// Give chains back in this order, published all at once.
    ///
    /// # Errors
    /// As [`push`](Self::push); none of the batch was published.
    pub fn push_batch(&mut self, used: &[(u16, u32)]) -> Result<(), RingError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let (mut next, mut added) = (self.next_used, self.added);
        for &(head, written) in used {
            if !self.heads.give_back(head) {
                let error = RingError::NotInFlight { head };
                self.broken = Some(error);
                return Err(error);
            }
            let offset = used_offset(next % self.config.size);
            self.areas.device.write_u32(offset, head.into());
            self.areas.device.write_u32(offset + 4, written);
            next = next.wrapping_add(1);
            added = added.saturating_add(1);
        }
        // Release: the entries, and what was written into the buffers, come before the index. No entry
        // is overwritten before an honest driver has read it: until then its descriptors are not free
        // to be offered again, so that there are never more chains underway than entries.
        self.areas.device.store(RING_IDX, next, Ordering::Release);
        self.next_used = next;
        self.added = added;
        Ok(())
    }

    /// Say whether the driver wants an interrupt for what was pushed since this was last asked
    /// (2.7.7.2). Ask after pushing.
    pub fn needs_interrupt(&mut self) -> bool {
        let added = std::mem::take(&mut self.added);
        if added == 0 {
            return false;
        }
        // Race: the driver asks for interrupts, sees nothing used and sleeps, while we read its old
        // wish and don't interrupt. With this fence between publishing and reading, and the driver's
        // in `DriverQueue::enable_interrupts`, one of us sees the other.
        self.memory.full_fence();
        let driver = &self.areas.driver;
        if self.config.event_idx {
            let event = driver.load(avail_offset(self.config.size), Ordering::Relaxed);
            need_event(event, self.next_used, added)
        } else {
            driver.load(RING_FLAGS, Ordering::Relaxed) & VIRTQ_AVAIL_F_NO_INTERRUPT == 0
        }
    }

    /// Next entry of the used ring to fill, free-running.
    #[must_use]
    pub fn next_used(&self) -> u16 {
        self.next_used
    }
}

/// The device side of a split virtqueue: both halves, for one thread.
pub struct DeviceQueue<M: RingMemory = GuestRam> {
    popper: Popper<M>,
    pusher: Pusher<M>,
}

impl<M: RingMemory> DeviceQueue<M> {
    /// Begin at index 0 of rings that the driver has cleared. Writes nothing.
    ///
    /// # Errors
    /// Those of [`QueueConfig::validate`].
    pub fn new(memory: M, config: QueueConfig) -> Result<Self, ConfigError> {
        let areas = config.resolve(&memory)?;
        let heads = Heads::new(config.size);
        let popper = Popper {
            memory: memory.clone(),
            areas: areas.clone(),
            config,
            heads: heads.clone(),
            next_avail: 0,
            avail_idx: 0,
            broken: None,
        };
        let pusher = Pusher {
            memory,
            areas,
            config,
            heads,
            next_used: 0,
            added: 0,
            broken: None,
        };
        Ok(Self { popper, pusher })
    }

    /// Take the halves apart.
    #[must_use]
    pub fn split(self) -> (Popper<M>, Pusher<M>) {
        (self.popper, self.pusher)
    }

    /// See [`Popper::pop`].
    ///
    /// # Errors
    /// As there.
    pub fn pop(&mut self) -> Result<Option<Chain>, RingError> {
        self.popper.pop()
    }

    /// See [`Popper::pop_batch`].
    ///
    /// # Errors
    /// As there.
    pub fn pop_batch(&mut self, max: usize, chains: &mut Vec<Chain>) -> Result<usize, RingError> {
        self.popper.pop_batch(max, chains)
    }

    /// See [`Popper::enable_notifications`].
    ///
    /// # Errors
    /// As there.
    pub fn enable_notifications(&mut self) -> Result<bool, RingError> {
        self.popper.enable_notifications()
    }

    /// See [`Popper::disable_notifications`].
    pub fn disable_notifications(&mut self) {
        self.popper.disable_notifications();
    }

    /// See [`Popper::next_avail`].
    #[must_use]
    pub fn next_avail(&self) -> u16 {
        self.popper.next_avail()
    }

    /// See [`Pusher::push`].
    ///
    /// # Errors
    /// As there.
    pub fn push(&mut self, head: u16, written: u32) -> Result<(), RingError> {
        self.pusher.push(head, written)
    }

    /// See [`Pusher::push_batch`].
    ///
    /// # Errors
    /// As there.
    pub fn push_batch(&mut self, used: &[(u16, u32)]) -> Result<(), RingError> {
        self.pusher.push_batch(used)
    }

    /// See [`Pusher::needs_interrupt`].
    pub fn needs_interrupt(&mut self) -> bool {
        self.pusher.needs_interrupt()
    }

    /// See [`Pusher::next_used`].
    #[must_use]
    pub fn next_used(&self) -> u16 {
        self.pusher.next_used()
    }
}
