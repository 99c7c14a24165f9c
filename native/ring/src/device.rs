//! The device side of a virtqueue, in two halves that may live on two threads.
//!
//! Invariant: there is one [`AvailConsumer`] and one [`UsedProducer`] per ring. The consumer alone takes chains and
//! writes what the device wants to be notified of; the producer alone marks chains used. They share the
//! record of what the device holds, and for a packed ring the count of what was given back.

use crate::config::QueueConfig;
use crate::descriptor_chain::Chain;
use crate::error::{ConfigError, RingError};
use crate::format::{RingFormat, with_format};
use crate::inflight::LogRegion;
use crate::inflight_heads::InflightHeads;
use crate::memory::{GuestRam, RingMemory};
use crate::{packed, split};

/// Takes available chains, and says when it wants to hear of more.
pub struct AvailConsumer<M: RingMemory = GuestRam> {
    memory: M,
    ring: RingFormat<split::AvailReader<M>, packed::AvailReader<M>>,
    broken: Option<RingError>,
}

impl<M: RingMemory> AvailConsumer<M> {
    /// Take the next available chain. None when there is none.
    ///
    /// # Errors
    /// The rule the driver broke; from then on the same error always.
    pub fn pop(&mut self) -> Result<Option<Chain>, RingError> {
        self.guard(|consumer| {
            with_format!(&mut consumer.ring, ring => match ring.pop_resubmit(&consumer.memory)? {
                None => ring.pop(&consumer.memory),
                again => Ok(again),
            })
        })
    }

    /// Say whether chains are left that an earlier device side took and did not give back (of a queue
    /// with an in-flight log). They come first.
    #[must_use]
    pub fn has_resubmits(&self) -> bool {
        with_format!(&self.ring, ring => ring.has_resubmits())
    }

    /// Allow chains in indirect tables of so many buffers, though the ring be shorter: as many as the
    /// device's own limits let a driver make.
    pub fn allow_indirect_buffers(&mut self, buffers: u16) {
        with_format!(&mut self.ring, ring => ring.allow_indirect_buffers(buffers));
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
        self.guard(|consumer| {
            with_format!(&consumer.ring, ring => ring.enable_notifications());
            // Race: the driver publishes a chain and, seeing the old wish, doesn't notify, while we
            // see no chain and sleep. With this fence between our store and the load below, and the
            // driver's between its store and its load (`DriverQueue::should_notify`), one of us sees
            // the other.
            consumer.memory.full_fence();
            let waiting = match &mut consumer.ring {
                RingFormat::Split(ring) => ring.has_available()?,
                RingFormat::Packed(ring) => ring.has_available(),
            };
            Ok(waiting || consumer.has_resubmits())
        })
    }

    /// Ask for no notifications while chains are being taken anyway. A hint: some may still come.
    pub fn disable_notifications(&mut self) {
        with_format!(&self.ring, ring => ring.disable_notifications());
    }

    /// This half's part of [`DeviceQueue::base`], which joins both parts by bitwise or.
    #[must_use]
    pub fn base(&self) -> u32 {
        with_format!(&self.ring, ring => ring.base())
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
}

/// Gives chains back as used, and says when the driver wants to hear of it.
pub struct UsedProducer<M: RingMemory = GuestRam> {
    memory: M,
    ring: RingFormat<split::UsedWriter<M>, packed::UsedWriter<M>>,
    inflight_heads: InflightHeads,
    /// Entries published since the driver's wish was last looked at.
    added: u32,
    broken: Option<RingError>,
}

impl<M: RingMemory> UsedProducer<M> {
    /// Give a chain back, with the bytes written from its first device-writable byte on (2.7.8, 2.8.4).
    ///
    /// # Errors
    /// `NotInFlight`; nothing was published, and the same error follows always.
    pub fn push(&mut self, head: u16, written: u32) -> Result<(), RingError> {
        self.push_batch(&[(head, written)])
    }

    /// Give chains back in this order, published all at once.
    ///
    /// # Errors
    /// As [`push`](Self::push); none of the batch was published, unless there is an in-flight log: then
    /// those before the bad one may be.
    pub fn push_batch(&mut self, used: &[(u16, u32)]) -> Result<(), RingError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        let mut added = self.added;
        for &(head, written) in used {
            let Some(entries) = self.inflight_heads.remove(head) else {
                let error = RingError::NotInFlight { head };
                self.broken = Some(error);
                return Err(error);
            };
            match &mut self.ring {
                RingFormat::Split(ring) => ring.write(head, written),
                RingFormat::Packed(ring) => ring.write(head, entries, written),
            }
            added = added.saturating_add(entries.into());
        }
        with_format!(&mut self.ring, ring => ring.publish());
        self.added = added;
        Ok(())
    }

    /// Say whether the driver wants an interrupt for what was pushed since this was last asked
    /// (2.7.7.2, 2.8.10). Ask after pushing.
    pub fn needs_interrupt(&mut self) -> bool {
        let added = std::mem::take(&mut self.added);
        if added == 0 {
            return false;
        }
        // Race: the driver asks for interrupts, sees nothing used and sleeps, while we read its old
        // wish and don't interrupt. With this fence between publishing and reading, and the driver's
        // in `DriverQueue::enable_interrupts`, one of us sees the other.
        self.memory.full_fence();
        with_format!(&self.ring, ring => ring.needs_interrupt(added))
    }

    /// This half's part of [`DeviceQueue::base`]: none for a split ring, which holds its used index.
    #[must_use]
    pub fn base(&self) -> u32 {
        match &self.ring {
            RingFormat::Split(_) => 0,
            RingFormat::Packed(ring) => ring.base(),
        }
    }

    /// See [`DeviceQueue::base_in_order`].
    #[must_use]
    pub fn base_in_order(&self) -> u32 {
        with_format!(&self.ring, ring => ring.base_in_order())
    }
}

/// The device side of a virtqueue: both halves, for one thread.
pub struct DeviceQueue<M: RingMemory = GuestRam> {
    consumer: AvailConsumer<M>,
    producer: UsedProducer<M>,
}

impl<M: RingMemory> DeviceQueue<M> {
    /// Begin with rings that the driver has cleared, or go on from `config.base` (and, with a split
    /// ring, from the used index in it). Writes nothing.
    ///
    /// # Errors
    /// Those of [`QueueConfig::validate`].
    pub fn new(memory: M, config: QueueConfig) -> Result<Self, ConfigError> {
        Self::with_log(memory, config, None)
    }

    /// The same with an in-flight log. With one that is in use, chains that an earlier device side took
    /// and did not give back are taken first, and `config.base` does not count. Mends the log.
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

    /// Take the halves apart.
    #[must_use]
    pub fn split(self) -> (AvailConsumer<M>, UsedProducer<M>) {
        (self.consumer, self.producer)
    }

    /// Where another device side goes on when this one ends, once all that it took is given back: the
    /// vring base of vhost-user. Of a split ring, the next available index; of a packed one, the next
    /// available position in the low half and the next used one in the high half, each with its wrap
    /// counter in its highest bit.
    #[must_use]
    pub fn base(&self) -> u32 {
        self.consumer.base() | self.producer.base()
    }

    /// The same as if the chains that the device holds had not been taken. For a device that gives
    /// chains back in the order in which it took them.
    #[must_use]
    pub fn base_in_order(&self) -> u32 {
        self.producer.base_in_order()
    }

    /// See [`AvailConsumer::pop`].
    ///
    /// # Errors
    /// As there.
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
    /// As there.
    pub fn pop_batch(&mut self, max: usize, chains: &mut Vec<Chain>) -> Result<usize, RingError> {
        self.consumer.pop_batch(max, chains)
    }

    /// See [`AvailConsumer::enable_notifications`].
    ///
    /// # Errors
    /// As there.
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
    /// As there.
    pub fn push(&mut self, head: u16, written: u32) -> Result<(), RingError> {
        self.producer.push(head, written)
    }

    /// See [`UsedProducer::push_batch`].
    ///
    /// # Errors
    /// As there.
    pub fn push_batch(&mut self, used: &[(u16, u32)]) -> Result<(), RingError> {
        self.producer.push_batch(used)
    }

    /// See [`UsedProducer::needs_interrupt`].
    pub fn needs_interrupt(&mut self) -> bool {
        self.producer.needs_interrupt()
    }
}
