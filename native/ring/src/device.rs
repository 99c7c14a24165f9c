//! The device side of a virtqueue, in two halves that may run on two threads.
//!
//! Invariant: there is one [`AvailConsumer`] and one [`UsedProducer`] per ring. Only the consumer pops
//! chains and writes the device's notification suppression; only the producer marks chains used. They
//! share the set of heads in flight, and for a packed ring the count of used entries.

use crate::config::QueueConfig;
use crate::descriptor_chain::Chain;
use crate::error::{ConfigError, RingError};
use crate::format::{RingFormat, with_format};
use crate::inflight::LogRegion;
use crate::inflight_heads::InflightHeads;
use crate::memory::{GuestRam, RingMemory};
use crate::state::{AvailState, RingState};
use crate::{packed, split};

/// Pops available chains, and enables or disables available buffer notifications.
pub struct AvailConsumer<M: RingMemory = GuestRam> {
    memory: M,
    ring: RingFormat<split::AvailReader<M>, packed::AvailReader<M>>,
    broken: Option<RingError>,
}

impl<M: RingMemory> AvailConsumer<M> {
    /// Pop the next available chain. None if there is none.
    ///
    /// # Errors
    /// The first violation by the driver; every later call returns it again.
    pub fn pop(&mut self) -> Result<Option<Chain>, RingError> {
        let mut chain = Chain::default();
        Ok(self.pop_into(&mut chain)?.then_some(chain))
    }

    /// Pop into an empty chain. False if there is none.
    fn pop_into(&mut self, chain: &mut Chain) -> Result<bool, RingError> {
        self.guard(|consumer| {
            let memory = &consumer.memory;
            with_format!(&mut consumer.ring, ring => {
                Ok(ring.pop_resubmit(memory, chain)? || ring.pop(memory, chain)?)
            })
        })
    }

    /// True if chains are left to resubmit: an earlier device side popped them and did not push them,
    /// by the in-flight log. [`pop`](Self::pop) returns them first.
    #[must_use]
    pub fn has_resubmits(&self) -> bool {
        with_format!(&self.ring, ring => ring.has_resubmits())
    }

    /// Allow up to `buffers` in an indirect table, even if the ring is shorter: the number that the
    /// device's own limits allow a driver.
    pub fn allow_indirect_buffers(&mut self, buffers: u16) {
        with_format!(&mut self.ring, ring => ring.allow_indirect_buffers(buffers));
    }

    /// Pop up to `max` available chains and append them to `chains`. Returns their number.
    ///
    /// # Errors
    /// Those of [`pop`](Self::pop). Chains before the malformed one are in `chains` and in flight.
    pub fn pop_batch(&mut self, max: usize, chains: &mut Vec<Chain>) -> Result<usize, RingError> {
        for taken in 0..max {
            let index = chains.len();
            // A chain is large, so it is built where it stays.
            chains.push(Chain::default());
            let popped = self.pop_into(&mut chains[index]);
            if !matches!(popped, Ok(true)) {
                chains.truncate(index);
                return popped.map(|_| taken);
            }
        }
        Ok(max)
    }

    /// Enable the notification of the next available chain. True if a chain is available already: then
    /// pop it, and don't wait for a notification, which may not come.
    ///
    /// # Errors
    /// Those of [`pop`](Self::pop).
    pub fn enable_notifications(&mut self) -> Result<bool, RingError> {
        self.guard(|consumer| {
            with_format!(&consumer.ring, ring => ring.enable_notifications());
            // Race: the driver publishes a chain and, seeing the old suppression, doesn't notify, while
            // we see no chain and sleep. With this fence between our store and the load below, and
            // the driver's between its store and its load (`DriverQueue::should_notify`), one of us
            // sees the other.
            consumer.memory.full_fence();
            Ok(())
        })?;
        self.is_waiting()
    }

    /// True if a chain is available now, whether notifications are enabled or not: [`pop`](Self::pop) returns
    /// it. False says nothing of what the driver does next: see
    /// [`enable_notifications`](Self::enable_notifications) before you sleep.
    ///
    /// # Errors
    /// Those of [`pop`](Self::pop).
    pub fn is_waiting(&mut self) -> Result<bool, RingError> {
        self.guard(|consumer| {
            let waiting = match &mut consumer.ring {
                RingFormat::Split(ring) => ring.has_available()?,
                RingFormat::Packed(ring) => ring.has_available(),
            };
            Ok(waiting || consumer.has_resubmits())
        })
    }

    /// Disable notifications while chains are being popped anyway. This is a hint: some may still come.
    pub fn disable_notifications(&mut self) {
        with_format!(&self.ring, ring => ring.disable_notifications());
    }

    /// The available half of the ring's state, for [`UsedProducer::state`].
    #[must_use]
    pub fn state(&self) -> AvailState {
        with_format!(&self.ring, ring => ring.state())
    }

    /// Run an action unless the ring is broken. An error breaks it.
    fn guard<T>(
        &mut self,
        action: impl FnOnce(&mut Self) -> Result<T, RingError>,
    ) -> Result<T, RingError> {
        match self.broken {
            Some(error) => Err(error),
            None => action(self).inspect_err(|error| self.broken = Some(*error)),
        }
    }
}

/// Marks chains used, and tells when the driver wants an interrupt.
pub struct UsedProducer<M: RingMemory = GuestRam> {
    memory: M,
    ring: RingFormat<split::UsedWriter<M>, packed::UsedWriter<M>>,
    inflight_heads: InflightHeads,
    /// Entries published since the driver's interrupt suppression was last read.
    added: u32,
    broken: Option<RingError>,
}

impl<M: RingMemory> UsedProducer<M> {
    /// Mark a chain used. `written` counts the bytes written from its first device-writable byte on
    /// (2.7.8, 2.8.4).
    ///
    /// # Errors
    /// `NotInFlight`. Nothing was published, and every later call returns the same error.
    pub fn push(&mut self, head: u16, written: u32) -> Result<(), RingError> {
        self.push_batch(&[(head, written)])
    }

    /// Mark chains used in this order, and publish them all at once.
    ///
    /// # Errors
    /// Those of [`push`](Self::push). None of the batch was published. Only with an in-flight log those
    /// before the refused one may be.
    pub fn push_batch(&mut self, used: &[(u16, u32)]) -> Result<(), RingError> {
        self.push_each(used.iter().map(|&(head, written)| (head, (head, written))))
    }

    /// Like [`push_batch`](Self::push_batch), for a device that lies: each chain, and what the driver is
    /// told of it.
    ///
    /// # Errors
    /// Those of [`push`](Self::push), of the chains themselves.
    pub fn push_as(&mut self, used: &[(u16, (u16, u32))]) -> Result<(), RingError> {
        self.push_each(used.iter().copied())
    }

    fn push_each(
        &mut self,
        used: impl Iterator<Item = (u16, (u16, u32))>,
    ) -> Result<(), RingError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let mut added = self.added;
        for (head, told) in used {
            let Some(entries) = self.inflight_heads.remove(head) else {
                let error = RingError::NotInFlight { head };
                self.broken = Some(error);
                return Err(error);
            };
            match &mut self.ring {
                RingFormat::Split(ring) => ring.write(head, told),
                RingFormat::Packed(ring) => ring.write(head, entries, told),
            }
            added = added.saturating_add(entries.into());
        }
        with_format!(&mut self.ring, ring => ring.publish());
        self.added = added;
        Ok(())
    }

    /// True if the driver wants an interrupt for the chains pushed since the last call (2.7.7.2, 2.8.10).
    /// Call it after pushing.
    pub fn needs_interrupt(&mut self) -> bool {
        let added = std::mem::take(&mut self.added);
        if added == 0 {
            return false;
        }
        // Race: the driver enables interrupts, sees nothing used and sleeps, while we read its old
        // suppression and don't interrupt. With this fence between publishing and reading, and the driver's
        // in `DriverQueue::enable_interrupts`, one of us sees the other.
        self.memory.full_fence();
        with_format!(&self.ring, ring => ring.needs_interrupt(added))
    }

    /// The state of the ring, with the available half of the same queue: see [`DeviceQueue::state`].
    #[must_use]
    pub fn state(&self, avail: AvailState) -> RingState {
        match &self.ring {
            // The used index stays in the ring itself.
            RingFormat::Split(_) => RingState::Split {
                next_avail: avail.index,
            },
            RingFormat::Packed(ring) => ring.state(avail),
        }
    }

    /// See [`DeviceQueue::state_in_order`].
    #[must_use]
    pub fn state_in_order(&self) -> RingState {
        with_format!(&self.ring, ring => ring.state_in_order())
    }
}

/// The device side of a virtqueue: both halves, for one thread.
pub struct DeviceQueue<M: RingMemory = GuestRam> {
    consumer: AvailConsumer<M>,
    producer: UsedProducer<M>,
}

impl<M: RingMemory> DeviceQueue<M> {
    /// Start on rings that the driver has cleared, or continue from `config.state` (and, with a split
    /// ring, from the used index in the ring). Writes nothing to the rings.
    ///
    /// # Errors
    /// Those of [`QueueConfig::validate`].
    pub fn new(memory: M, config: QueueConfig) -> Result<Self, ConfigError> {
        Self::with_log(memory, config, None)
    }

    /// Start with an in-flight log. If the log is in use, the chains that an earlier device side popped
    /// and did not push are resubmitted first, and `config.state` is ignored. Repairs the log.
    ///
    /// # Errors
    /// Those of [`QueueConfig::validate`], `LogTooSmall`, `BadLog`.
    pub fn with_log(
        memory: M,
        config: QueueConfig,
        log: Option<&LogRegion<M>>,
    ) -> Result<Self, ConfigError> {
        let areas = config.resolve(&memory)?;
        let inflight_heads = InflightHeads::new(config.size);
        let (reader, writer) = if config.packed {
            let (reader, writer) = packed::halves(&areas, &config, inflight_heads.clone(), log)?;
            (RingFormat::Packed(reader), RingFormat::Packed(writer))
        } else {
            let (reader, writer) = split::halves(&areas, &config, inflight_heads.clone(), log)?;
            (RingFormat::Split(reader), RingFormat::Split(writer))
        };
        let consumer = AvailConsumer {
            memory: memory.clone(),
            ring: reader,
            broken: None,
        };
        let producer = UsedProducer {
            memory,
            ring: writer,
            inflight_heads,
            added: 0,
            broken: None,
        };
        Ok(Self { consumer, producer })
    }

    /// Split into the two halves.
    #[must_use]
    pub fn split(self) -> (AvailConsumer<M>, UsedProducer<M>) {
        (self.consumer, self.producer)
    }

    /// The state from which another device side continues. It is valid once every popped chain is
    /// pushed.
    #[must_use]
    pub fn state(&self) -> RingState {
        self.producer.state(self.consumer.state())
    }

    /// The state that makes the next device side pop the chains in flight again. Only for a device that
    /// pushes chains in the order in which it popped them.
    #[must_use]
    pub fn state_in_order(&self) -> RingState {
        self.producer.state_in_order()
    }

    /// See [`AvailConsumer::pop`].
    ///
    /// # Errors
    /// Those of the method above.
    pub fn pop(&mut self) -> Result<Option<Chain>, RingError> {
        self.consumer.pop()
    }

    /// See [`AvailConsumer::allow_indirect_buffers`].
    pub fn allow_indirect_buffers(&mut self, buffers: u16) {
        self.consumer.allow_indirect_buffers(buffers);
    }

    /// See [`AvailConsumer::pop_batch`].
    ///
    /// # Errors
    /// Those of the method above.
    pub fn pop_batch(&mut self, max: usize, chains: &mut Vec<Chain>) -> Result<usize, RingError> {
        self.consumer.pop_batch(max, chains)
    }

    /// See [`AvailConsumer::enable_notifications`].
    ///
    /// # Errors
    /// Those of the method above.
    pub fn enable_notifications(&mut self) -> Result<bool, RingError> {
        self.consumer.enable_notifications()
    }

    /// See [`AvailConsumer::disable_notifications`].
    pub fn disable_notifications(&mut self) {
        self.consumer.disable_notifications();
    }

    /// See [`UsedProducer::push`].
    ///
    /// # Errors
    /// Those of the method above.
    pub fn push(&mut self, head: u16, written: u32) -> Result<(), RingError> {
        self.producer.push(head, written)
    }

    /// See [`UsedProducer::push_batch`].
    ///
    /// # Errors
    /// Those of the method above.
    pub fn push_batch(&mut self, used: &[(u16, u32)]) -> Result<(), RingError> {
        self.producer.push_batch(used)
    }

    /// See [`UsedProducer::push_as`].
    ///
    /// # Errors
    /// Those of the method above.
    pub fn push_as(&mut self, used: &[(u16, (u16, u32))]) -> Result<(), RingError> {
        self.producer.push_as(used)
    }

    /// See [`UsedProducer::needs_interrupt`].
    pub fn needs_interrupt(&mut self) -> bool {
        self.producer.needs_interrupt()
    }
}
