//! The interrupt of one device.
//!
//! Invariant: the bits are set before anything is signalled, so every woken observer finds them. Bits,
//! counters and fault are atomics or have a lock of their own. The lock of a call eventfd is held while
//! it is signalled, which never waits.
//!
//! The state of the line (asserted while a bit is set) is told in three ways: to observers by the wake
//! eventfd, at each change of the bits; to the attached driver by the line eventfd; and in the answers of
//! the register channel ([`crate::RegisterChannel`]). Whoever clears bits, or sets the level of a line,
//! is the thread that answers the driver. So while it executes accesses of the channel
//! ([`Interrupt::set_answering`]) the line eventfd is not signalled for what it changes: the answer tells.
//! Interrupts of other threads are always signalled, since the answer may have been made already.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::eventfd::{Call, EventFd, EventfdError};
use crate::faults::{Faults, Raised};
use crate::recorder::{Recorder, now};
use crate::signaller::Signaller;
use crate::trace_event::{EventKind, TraceEvent};
use crate::violations::Violations;

/// `InterruptStatus` bit 0: the device has used a buffer (virtio 1.4, 4.2.2).
pub const INTERRUPT_USED_BUFFER: u32 = 1;
/// `InterruptStatus` bit 1: the configuration has changed (virtio 1.4, 4.2.2).
pub const INTERRUPT_CONFIG_CHANGE: u32 = 2;
/// [`INTERRUPT_USED_BUFFER`] as the detail of a recorded event.
const CAUSE_USED: u8 = 1;
/// [`INTERRUPT_CONFIG_CHANGE`] as the detail of a recorded event.
const CAUSE_CONFIG: u8 = 2;
/// Above the tag of a request, so that one with the tag 0 is seen.
const REQUEST: u64 = 1 << 32;
/// Most queues of one device. The attach protocol carries eventfds for fewer.
pub const QUEUE_LIMIT: usize = 64;

/// `InterruptStatus` of one device, and how its raising is signalled. Safe to raise from any thread.
///
/// Every part that serves a device has its interrupt, so the interrupt also carries the device's flight
/// recorder, the rules that its driver broke, and the faults that were ordered. Events of the interrupt are recorded before they are
/// visible outside.
#[derive(Debug)]
pub struct Interrupt {
    recorder: OnceLock<Arc<Recorder>>,
    status: AtomicU32,
    sequence: AtomicU64,
    suppressed: AtomicU64,
    observed: AtomicBool,
    answering: AtomicBool,
    /// [`REQUEST`] and the tag of the request that is being executed; 0 if none is.
    request: AtomicU64,
    wake: EventFd,
    fault: RwLock<Option<String>>,
    pub(crate) violations: Violations,
    faults: Arc<Faults>,
    signaller: Signaller,
    calls: RwLock<[Option<Call>; QUEUE_LIMIT]>,
    config_call: RwLock<Option<Call>>,
    line_call: RwLock<Option<Call>>,
}

impl Interrupt {
    /// Make one: nothing pending, no eventfds.
    ///
    /// # Errors
    /// When there is no descriptor left for its wake eventfd.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            recorder: OnceLock::new(),
            status: AtomicU32::new(0),
            sequence: AtomicU64::new(0),
            suppressed: AtomicU64::new(0),
            observed: AtomicBool::new(false),
            answering: AtomicBool::new(false),
            request: AtomicU64::new(0),
            wake: EventFd::new()?,
            fault: RwLock::new(None),
            violations: Violations::default(),
            faults: Arc::default(),
            signaller: Signaller::new(),
            calls: RwLock::new([const { None }; QUEUE_LIMIT]),
            config_call: RwLock::new(None),
            line_call: RwLock::new(None),
        })
    }

    /// Set the recorder. False if there is one already.
    #[must_use]
    pub fn record_to(&self, recorder: Arc<Recorder>) -> bool {
        self.recorder.set(recorder).is_ok()
    }

    /// The flight recorder of the device, if there is one.
    #[must_use]
    pub fn recorder(&self) -> Option<&Arc<Recorder>> {
        self.recorder.get()
    }

    /// The faults that were ordered of the device.
    #[must_use]
    pub const fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    /// Record an event that happens now.
    pub fn record(&self, event: TraceEvent) {
        self.record_at(self.time(), event);
    }

    fn record_at(&self, time_ns: u64, event: TraceEvent) {
        if let Some(recorder) = self.recorder() {
            recorder.record_at(time_ns, [event]);
        }
    }

    /// The time for an event. 0 without a recorder: reading the clock is most of the cost.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.recorder().map_or(0, |_| now())
    }

    /// Pending bits: [`INTERRUPT_USED_BUFFER`], [`INTERRUPT_CONFIG_CHANGE`].
    #[must_use]
    pub fn status(&self) -> u32 {
        self.status.load(Ordering::SeqCst)
    }

    /// Interrupts raised since creation.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::SeqCst)
    }

    /// Used-buffer interrupts not raised because the driver suppressed them.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }

    /// Count used-buffer interrupts of a queue that were not raised.
    pub fn count_suppressed(&self, queue: usize) {
        self.count_suppressed_at(queue, self.time());
    }

    /// Like the method above, with the time of an earlier clock reading.
    pub fn count_suppressed_at(&self, queue: usize, time_ns: u64) {
        let event = TraceEvent::on_queue(EventKind::InterruptSuppressed, queue);
        self.record_at(time_ns, event);
        self.suppressed.fetch_add(1, Ordering::Relaxed);
    }

    /// Why the device needs a reset, if it does.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        read(&self.fault).clone()
    }

    /// The eventfd that is signalled while [`Interrupt::observed`].
    #[must_use]
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// True while someone watches the wake eventfd.
    #[must_use]
    pub fn observed(&self) -> bool {
        self.observed.load(Ordering::SeqCst)
    }

    /// Say whether someone watches the wake eventfd.
    pub fn set_observed(&self, observed: bool) {
        self.observed.store(observed, Ordering::SeqCst);
    }

    /// Say whether accesses of the register channel are being executed: their answer tells the state of
    /// the line. For the thread that executes them.
    pub fn set_answering(&self, answering: bool) {
        self.answering.store(answering, Ordering::SeqCst);
    }

    /// Say which request of the register channel is being executed from now on. For the thread that
    /// executes them.
    pub fn set_request(&self, tag: Option<u32>) {
        let word = tag.map_or(0, |tag| REQUEST | u64::from(tag));
        self.request.store(word, Ordering::Relaxed);
    }

    /// Tag of the request that is being executed.
    pub(crate) fn request(&self) -> Option<u32> {
        let word = self.request.load(Ordering::Relaxed);
        u32::try_from(word ^ REQUEST).ok()
    }

    /// Clear pending bits (`InterruptACK`; virtio 1.4, 4.2.2).
    pub fn acknowledge(&self, bits: u32) {
        self.record(TraceEvent {
            value: bits.into(),
            ..TraceEvent::new(EventKind::Acknowledge)
        });
        let before = self.status.fetch_and(!bits, Ordering::SeqCst);
        self.tell_change(before, before & !bits);
    }

    /// Raise a used-buffer interrupt for a queue.
    pub fn raise_used(&self, queue: usize) {
        self.raise_used_at(queue, self.time());
    }

    /// Like the method above, with the time of an earlier clock reading.
    pub fn raise_used_at(&self, queue: usize, time_ns: u64) {
        if !self.is_altered(Raised::Used(queue)) {
            self.deliver_used(queue, time_ns);
        }
    }

    /// Raise a configuration change interrupt.
    pub fn raise_config(&self) {
        if !self.is_altered(Raised::Config) {
            self.deliver_config();
        }
    }

    /// Raise an interrupt now, whatever faults are ordered.
    pub(crate) fn deliver(&self, raised: Raised) {
        match raised {
            Raised::Used(queue) => self.deliver_used(queue, self.time()),
            Raised::Config => self.deliver_config(),
        }
    }

    fn deliver_used(&self, queue: usize, time_ns: u64) {
        let event = TraceEvent::on_queue(EventKind::Interrupt, queue).with_detail(CAUSE_USED);
        self.record_at(time_ns, event);
        let news = self.set_pending(INTERRUPT_USED_BUFFER);
        if let Some(Some(call)) = read(&self.calls).get(queue) {
            self.signaller.signal(call);
        }
        if news {
            self.signal_line();
        }
        self.wake_observer();
    }

    fn deliver_config(&self) {
        self.record(TraceEvent::new(EventKind::Interrupt).with_detail(CAUSE_CONFIG));
        let news = self.set_pending(INTERRUPT_CONFIG_CHANGE);
        if let Some(call) = &*read(&self.config_call) {
            self.signaller.signal(call);
        }
        if news {
            self.signal_line();
        }
        self.wake_observer();
    }

    /// Set the sources (bits) of a level-triggered line, for a device that is not a virtio device. The
    /// line is asserted while a source is set. Counts each rise of the line, and wakes observers at each
    /// change of the sources. Not for use by two threads at once.
    pub fn set_level(&self, sources: u32) {
        let before = self.status.swap(sources, Ordering::SeqCst);
        if (before == 0) != (sources == 0) {
            self.record(TraceEvent {
                detail: u8::from(sources != 0),
                value: sources.into(),
                ..TraceEvent::new(EventKind::Level)
            });
        }
        if before == 0 && sources != 0 {
            self.sequence.fetch_add(1, Ordering::SeqCst);
        }
        self.tell_change(before, sources);
    }

    /// Set `DEVICE_NEEDS_RESET` (virtio 1.4, 2.1.2): keeps the first reason, and raises a configuration
    /// change interrupt.
    pub fn set_fault(&self, reason: &str) {
        if let Some(recorder) = self.recorder() {
            recorder.record_note(TraceEvent::new(EventKind::Fault), reason);
        }
        write(&self.fault).get_or_insert_with(|| reason.to_owned());
        self.raise_config();
    }

    /// Set or clear the eventfd or socket of a queue, which is duplicated.
    ///
    /// # Errors
    /// If it is neither a non-blocking eventfd nor a unix socket, or the queue is out of range.
    pub fn set_call(&self, queue: usize, call: Option<RawFd>) -> Result<(), EventfdError> {
        let call = call.map(Call::duplicate).transpose()?;
        let mut calls = write(&self.calls);
        let slot = calls.get_mut(queue).ok_or(EventfdError::NoSuchQueue {
            queue,
            limit: QUEUE_LIMIT,
        })?;
        self.replace(slot, call);
        Ok(())
    }

    /// Set or clear the eventfd of configuration changes, which is duplicated.
    ///
    /// # Errors
    /// When it is not a non-blocking eventfd.
    pub fn set_config_call(&self, call: Option<RawFd>) -> Result<(), EventfdError> {
        let call = call.map(Call::duplicate).transpose()?;
        self.replace(&mut write(&self.config_call), call);
        Ok(())
    }

    /// Set or clear the eventfd that tells changes of the line, which is duplicated.
    ///
    /// # Errors
    /// When it is not a non-blocking eventfd.
    pub fn set_line_call(&self, call: Option<RawFd>) -> Result<(), EventfdError> {
        let call = call.map(Call::duplicate).transpose()?;
        self.replace(&mut write(&self.line_call), call);
        Ok(())
    }

    /// Signal an eventfd of the driver once, without ever waiting for it.
    ///
    /// # Errors
    /// When it is neither a non-blocking eventfd nor a unix socket.
    pub fn signal(&self, descriptor: RawFd) -> Result<(), EventfdError> {
        self.signaller.signal(&Call::duplicate(descriptor)?);
        Ok(())
    }

    /// Replace a call, and forget the one before.
    fn replace(&self, slot: &mut Option<Call>, call: Option<Call>) {
        if let Some(before) = slot.take() {
            self.signaller.forget(&before);
        }
        *slot = call;
    }

    /// Clear pending bits and fault; the eventfds stay.
    pub fn reset(&self) {
        self.record(TraceEvent::new(EventKind::Reset));
        *write(&self.fault) = None;
        let before = self.status.swap(0, Ordering::SeqCst);
        self.tell_change(before, 0);
    }

    /// Set bits and count; true if a bit is new. The order matters to an observer: it reads the sequence
    /// first, so a sequence it has seen never hides bits it has not.
    fn set_pending(&self, bits: u32) -> bool {
        let before = self.status.fetch_or(bits, Ordering::SeqCst);
        self.sequence.fetch_add(1, Ordering::SeqCst);
        before & bits != bits
    }

    /// Tell a change of the bits that the thread made which answers the driver.
    fn tell_change(&self, before: u32, after: u32) {
        if before == after {
            return;
        }
        let (added, fell) = (after & !before != 0, after == 0);
        if (added || fell) && !self.answering.load(Ordering::SeqCst) {
            self.signal_line();
        }
        self.wake_observer();
    }

    /// Signal the line eventfd, if there is one.
    fn signal_line(&self) {
        if let Some(call) = &*read(&self.line_call) {
            self.signaller.signal(call);
        }
    }

    /// Signal the wake eventfd. An observer that sets `observed` and then reads the sequence misses
    /// nothing: both sides are sequentially consistent, so either it sees the new sequence or this
    /// sees that it observes.
    fn wake_observer(&self) {
        if self.observed() {
            self.wake.signal();
        }
    }
}

/// Take a lock for reading. The values are whole after a panic too: no writer leaves one half done.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Take a lock for writing; see [`read`].
fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "interrupt_tests.rs"]
mod tests;
