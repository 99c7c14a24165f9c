//! The flight recorder: the last events of one device, in a ring in memory.
//!
//! Any thread writes without waiting: it claims a number, and writes the slot of that number under a
//! stamp (a sequence lock per slot, all atomics). A reader copies a slot, and checks that its stamp is
//! still that of the wanted number. Readers never affect writers.
//!
//! Invariant: only the thread that moved a stamp to "being written" writes the words of that slot, and it
//! advances the stamp when it is done. A thread that finds its slot being written (another thread was
//! interrupted there for a whole turn of the ring) or already newer abandons its event; `abandoned`
//! tells readers not to wait for it.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sync::{AtomicU64, fence};
use crate::trace_event::TraceEvent;

/// Largest capacity in events: 40 MiB.
pub const CAPACITY_MAX: usize = 1 << 20;
/// Events whose texts are kept.
pub const NOTES_KEPT: usize = 64;
/// Longest text, in bytes.
pub const NOTE_BYTES: usize = 240;

/// An event as it was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// `CLOCK_MONOTONIC`, in ns.
    pub time_ns: u64,
    /// What happened.
    pub event: TraceEvent,
}

/// Consecutive events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Number of the first event.
    pub first: u64,
    /// Events lost between the number asked for and `first`.
    pub lost: u64,
    /// The events.
    pub records: Vec<Record>,
    /// Texts that are kept of these events, with their numbers.
    pub notes: Vec<(u64, String)>,
}

impl Page {
    /// Number to ask for next.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }
}

/// One event: stamp 0 before anything was written; `2 * number + 1` while that event is being
/// written; `2 * number + 2` when it is there. Numbers never come near 2^63: that is 292 years of
/// events, one each ns.
#[repr(C)]
struct Slot {
    stamp: AtomicU64,
    /// Time, [`TraceEvent::pack`], value, extra.
    words: [AtomicU64; 4],
}

/// The content of a slot, as a reader finds it.
enum SlotContent {
    /// The event.
    Whole(Record),
    /// A newer one.
    Overwritten,
    /// Not there yet.
    Pending,
}

/// Return slots with nothing in them. They take memory when they are written: a service has a
/// recorder for each device, of 2.5 MiB, and most of it is never used.
#[cfg(not(loom))]
fn empty_slots(size: usize) -> Box<[Slot]> {
    const WORDS: usize = 5;
    const {
        assert!(size_of::<Slot>() == size_of::<[u64; WORDS]>());
        assert!(align_of::<Slot>() == align_of::<[u64; WORDS]>());
    }
    // The allocator has zeroed pages from the kernel.
    let zeroes = vec![[0_u64; WORDS]; size].into_boxed_slice();
    // SAFETY: a slot is five atomics in the size and alignment of five words, as is asserted, and an
    // atomic of zeroes is 0. The box is given back with that size and alignment.
    unsafe { Box::from_raw(Box::into_raw(zeroes) as *mut [Slot]) }
}

/// Return slots with nothing in them: an atomic of loom is more than its value.
#[cfg(loom)]
fn empty_slots(size: usize) -> Box<[Slot]> {
    let slot = || Slot {
        stamp: AtomicU64::new(0),
        words: std::array::from_fn(|_| AtomicU64::new(0)),
    };
    std::iter::repeat_with(slot).take(size).collect()
}

/// The recorder. With a capacity of 0 it is off: it records nothing.
pub struct Recorder {
    /// A power of two of them, or none.
    slots: Box<[Slot]>,
    /// Number of the next event.
    next: AtomicU64,
    /// One more than the highest number that was abandoned.
    abandoned: AtomicU64,
    notes: Mutex<VecDeque<(u64, String)>>,
}

impl Recorder {
    /// Make one for `capacity` events of 40 bytes, rounded up to a power of two and cut to
    /// [`CAPACITY_MAX`].
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let size = match capacity {
            0 => 0,
            wanted => wanted.min(CAPACITY_MAX).next_power_of_two(),
        };
        Self {
            slots: empty_slots(size),
            next: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            notes: Mutex::default(),
        }
    }

    /// Events that are kept; 0 when it is off.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Number of the next event.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Number of the oldest event that is kept.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.next().saturating_sub(self.slots.len() as u64)
    }

    /// Record an event that happens now.
    pub fn record(&self, event: TraceEvent) {
        if !self.slots.is_empty() {
            self.record_at(now(), [event]);
        }
    }

    /// Record events that belong together, with one time ([`now`]).
    pub fn record_at<I>(&self, time_ns: u64, events: I)
    where
        I: IntoIterator<Item = TraceEvent, IntoIter: ExactSizeIterator>,
    {
        if self.slots.is_empty() {
            return;
        }
        let mut events = events.into_iter();
        let first = self.claim(events.len() as u64);
        for number in first..first + events.len() as u64 {
            match events.next() {
                Some(event) => self.write(number, time_ns, event),
                None => self.abandon(number),
            }
        }
    }

    /// Record an event with a text, which is cut to [`NOTE_BYTES`], and return its number; None if the
    /// recorder is off. Takes a lock for the text, so use it for rare events only.
    pub fn record_note(&self, event: TraceEvent, text: &str) -> Option<u64> {
        if self.slots.is_empty() {
            return None;
        }
        let number = self.claim(1);
        {
            let mut notes = self.notes();
            if notes.len() == NOTES_KEPT {
                notes.pop_front();
            }
            notes.push_back((number, cut(text).to_owned()));
        }
        // Written after its text, so no reader finds the event without it.
        self.write(number, now(), event);
        Some(number)
    }

    /// Read at most `limit` events from a number on, up to the first hole; holes before the first
    /// event are counted as lost. A number that is not recorded yet counts as the next.
    #[must_use]
    pub fn read(&self, from: u64, limit: usize) -> Page {
        let end = self.next();
        let from = from.min(end);
        let mut page = Page {
            first: from.max(end.saturating_sub(self.slots.len() as u64)),
            lost: 0,
            records: Vec::with_capacity(limit.min(self.slots.len())),
            notes: Vec::new(),
        };
        while page.next() < end && page.records.len() < limit {
            match self.find(page.next()) {
                SlotContent::Whole(record) => page.records.push(record),
                SlotContent::Pending if page.next() >= self.abandoned.load(Ordering::Acquire) => {
                    break;
                }
                // A hole: it is counted at the beginning of a page.
                _ if page.records.is_empty() => page.first += 1,
                _ => break,
            }
        }
        page.lost = page.first - from;
        let numbers = page.first..page.next();
        let notes = self.notes();
        let of_page = notes.iter().filter(|(number, _)| numbers.contains(number));
        page.notes = of_page.cloned().collect();
        drop(notes);
        page
    }

    /// Claim numbers.
    fn claim(&self, count: u64) -> u64 {
        self.next.fetch_add(count, Ordering::AcqRel)
    }

    /// Write the event of a number that was claimed.
    fn write(&self, number: u64, time_ns: u64, event: TraceEvent) {
        let Some(slot) = self.slot(number) else {
            return;
        };
        let writing = 2 * number + 1;
        let before = slot.stamp.load(Ordering::Relaxed);
        // Acquire: the words of the previous event are written before ours.
        let ours = before % 2 == 0
            && before < writing
            && slot
                .stamp
                .compare_exchange(before, writing, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if !ours {
            self.abandon(number);
            return;
        }
        // Race: a reader copies our words as those of the previous event. With this fence between stamp
        // and words, and the one between words and stamp in `find`, it sees our stamp in that case.
        fence(Ordering::Release);
        let words = [time_ns, event.pack(), event.value, event.extra];
        for (place, word) in slot.words.iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
        slot.stamp.store(writing + 1, Ordering::Release);
    }

    /// Copy the event of a number out of its slot.
    fn find(&self, number: u64) -> SlotContent {
        let Some(slot) = self.slot(number) else {
            return SlotContent::Overwritten;
        };
        let written = 2 * number + 2;
        // Acquire pairs with the release of `write`: the words are there.
        let stamp = slot.stamp.load(Ordering::Acquire);
        if stamp < written {
            return SlotContent::Pending;
        }
        let [time_ns, packed, value, extra] =
            std::array::from_fn(|index| slot.words[index].load(Ordering::Relaxed));
        fence(Ordering::Acquire); // See `write`.
        if stamp > written || slot.stamp.load(Ordering::Relaxed) != written {
            return SlotContent::Overwritten;
        }
        TraceEvent::unpack(packed, value, extra).map_or(SlotContent::Overwritten, |event| {
            SlotContent::Whole(Record { time_ns, event })
        })
    }

    /// Tell readers that the event of a number will not come.
    fn abandon(&self, number: u64) {
        self.abandoned.fetch_max(number + 1, Ordering::AcqRel);
    }

    fn slot(&self, number: u64) -> Option<&Slot> {
        let mask = self.slots.len().wrapping_sub(1) as u64;
        usize::try_from(number & mask)
            .ok()
            .and_then(|index| self.slots.get(index))
    }

    fn notes(&self) -> MutexGuard<'_, VecDeque<(u64, String)>> {
        // Nothing panics while it is held.
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Recorder")
            .field("capacity", &self.capacity())
            .field("next", &self.next())
            .finish_non_exhaustive()
    }
}

/// The first [`NOTE_BYTES`] of a text, cut at a character boundary.
fn cut(text: &str) -> &str {
    let longest = NOTE_BYTES.min(text.len());
    let end = (0..=longest).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// `CLOCK_MONOTONIC`, in ns: the same for all processes of a host.
#[must_use]
pub fn now() -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the structure is valid for a write.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr()) };
    debug_assert_eq!(result, 0, "every Linux has this clock");
    // SAFETY: the call above filled it in: it fails for unknown clocks only.
    let time = unsafe { time.assume_init() };
    // Neither is ever negative, and the sum holds for 584 years after boot.
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}
