//! The board: a hart, what belongs to every board, and slots for devices.
//!
//! Who does what: one thread calls the methods of [`Board`], `run` among them; it alone talks on the
//! channels. Any other thread has the [`Notifier`], the [`Stats`] and the [`AccessLog`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use virtmesh_device::Recorder;
use virtmesh_hart::{Hart, Ram, Time};
use virtmesh_ring::GuestRam;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

use crate::access_log::AccessLog;
use crate::clint::Clint;
use crate::held::Held;
use crate::line_thread::LineThread;
use crate::memory_map;
use crate::notifier::{Notifier, SLOTS_MAX, Slots};
use crate::plic::{self, Plic, Rule};
use crate::quirks::{Level, Quirks};
use crate::requests::Waiting;
use crate::saved::Kind;
use crate::slot::{ANSWER_LIMIT, ConnectError, Connection, Link, Slot};
use crate::stats::Stats;
use crate::{clint, syscon};

/// Physical addresses have 56 bits (Sv39).
const ADDRESS_END: u64 = 1 << 56;

/// How a board is made.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Physical address of RAM.
    pub address: u64,
    /// Bytes of RAM.
    pub size: u64,
    /// What the PLIC makes of a level.
    pub rule: Rule,
    /// What drives `mtime`.
    pub time: Time,
}

/// Why a slot is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// There are too many.
    #[error("a board has at most {SLOTS_MAX} slots")]
    TooMany,
    /// The window is empty, or wraps around.
    #[error("a window at {address:#x} of {size:#x} bytes is empty, or too large")]
    BadWindow {
        /// Its address.
        address: u64,
        /// Its size.
        size: u64,
    },
    /// The window overlaps another one.
    #[error("a window at {address:#x} of {size:#x} bytes overlaps {what}")]
    Overlap {
        /// Its address.
        address: u64,
        /// Its size.
        size: u64,
        /// What it overlaps.
        what: String,
    },
    /// The PLIC has no such source, or another slot has it.
    #[error("interrupt source {source_number} is taken, or not 1 to {max}", max = plic::SOURCE_MAX)]
    BadSource {
        /// The number.
        source_number: usize,
    },
    /// There is no such slot.
    #[error("there is no slot {0}")]
    NoSuchSlot(usize),
}

/// A machine without its devices.
#[derive(Debug)]
pub struct Board {
    pub(crate) hart: Hart,
    pub(crate) plic: Plic,
    pub(crate) clint: Clint,
    pub(crate) slots: Vec<Slot>,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) held: Held,
    /// Slots whose line has to be asked for.
    pub(crate) ask: Slots,
    /// Slots whose connection may have ended.
    pub(crate) ended: Slots,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) log: Arc<AccessLog>,
    line_thread: LineThread,
    answer_limit: Duration,
    time: Time,
    /// The mapping that the hart's RAM is in: dropped after it.
    memory: GuestRam,
}

impl Board {
    /// A board in reset, on RAM that has one region.
    ///
    /// # Errors
    /// When `options` and memory differ, and when the system is out of descriptors or threads.
    pub fn new(memory: GuestRam, options: Options) -> io::Result<Self> {
        let Options {
            address,
            size,
            rule,
            time,
        } = options;
        let pointer = host_address(&memory, address, size)?;
        // SAFETY: the mapping has all these bytes and is kept for as long as the hart; nothing in this
        // process makes references to guest memory.
        let ram = unsafe { Ram::new(pointer, address, size) };
        let notifier = Arc::new(Notifier::new()?);
        Ok(Self {
            hart: Hart::new(ram, 0, time),
            plic: Plic::new(rule),
            clint: Clint::default(),
            slots: Vec::new(),
            waiting: None,
            held: Held::default(),
            ask: 0,
            ended: 0,
            line_thread: LineThread::start(Arc::clone(&notifier))?,
            notifier,
            stats: Arc::default(),
            log: Arc::default(),
            answer_limit: ANSWER_LIMIT,
            time,
            memory,
        })
    }

    /// Add an empty slot. Returns its number.
    ///
    /// # Errors
    /// [`SlotError`].
    pub fn add_slot(
        &mut self,
        address: u64,
        size: u64,
        source: usize,
        kind: Kind,
    ) -> Result<usize, SlotError> {
        if self.slots.len() == SLOTS_MAX {
            return Err(SlotError::TooMany);
        }
        let end = address.checked_add(size);
        // Offsets on a channel have 32 bits.
        let small = size > 0 && u32::try_from(size).is_ok();
        let Some(end) = end.filter(|_| small) else {
            return Err(SlotError::BadWindow { address, size });
        };
        let overlapped = self.windows().into_iter();
        let mut overlapped = overlapped.filter(|(from, to, _)| address < *to && *from < end);
        if let Some((_, _, what)) = overlapped.next() {
            return Err(SlotError::Overlap {
                address,
                size,
                what,
            });
        }
        let taken = self.slots.iter().any(|slot| slot.source == source);
        if taken || !(1..=plic::SOURCE_MAX).contains(&source) {
            let source_number = source;
            return Err(SlotError::BadSource { source_number });
        }
        self.slots.push(Slot::new(address, size, source, kind));
        Ok(self.slots.len() - 1)
    }

    /// Give a virtio slot quirks, or take them away. Other slots have none.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn set_quirks(&mut self, slot: usize, level: Option<Level>) {
        self.slots[slot].quirks = level.map(Quirks::new);
    }

    /// Record the guest's accesses of a slot, with their program counters.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn record_to(&mut self, slot: usize, recorder: Arc<Recorder>) {
        self.slots[slot].recorder = Some(recorder);
    }

    /// Connect a device to a slot, in place of the one before. Descriptors are duplicated.
    ///
    /// # Errors
    /// [`ConnectError`]; the slot is as before then.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn connect(
        &mut self,
        slot: usize,
        channel: BorrowedFd<'_>,
        line: RawFd,
        kicks: &[RawFd],
    ) -> Result<(), ConnectError> {
        let connection = Connection::new(channel, line, kicks, self.answer_limit)?;
        let (event, socket) = (connection.line_event.as_fd(), connection.channel.as_fd());
        self.line_thread.add(slot, event, socket)?;
        self.set_link(slot, Link::Absent);
        self.log.clear_marks(slot);
        self.slots[slot].link = Link::Connected(connection);
        self.ask |= 1 << slot;
        Ok(())
    }

    /// Take the device from a slot. With `absent` it is an empty slot then, and a lost one without.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn disconnect(&mut self, slot: usize, absent: bool) {
        let link = if absent {
            Link::Absent
        } else {
            Link::Lost("the device is disconnected".into())
        };
        self.set_link(slot, link);
        if absent {
            drop(self.held.take_of(slot)); // Those of a request under way are held again by now.
        }
    }

    /// Reset hart, PLIC and CLINT; the hart goes on at `pc`. What the guest wrote to its devices is
    /// forgotten, so that no restart of one sets it up for the guest before. The devices are the caller's.
    pub fn reset(&mut self, pc: u64, a0: u64, a1: u64) {
        self.hart.reset(pc, a0, a1);
        self.hart.flush();
        self.held.clear();
        if let Some(waiting) = &mut self.waiting {
            waiting.orphan(); // Its answer is nobody's, and still to be read.
        }
        self.plic.reset();
        self.clint = Clint::default();
        self.hart.set_mtimecmp(u64::MAX);
        self.log.clear_violations();
        for slot in &mut self.slots {
            slot.saved.clear();
            if let Some(quirks) = &mut slot.quirks {
                quirks.reset();
            }
        }
    }

    /// Check the number of a slot.
    ///
    /// # Errors
    /// [`SlotError::NoSuchSlot`].
    pub fn check_slot(&self, slot: usize) -> Result<&Slot, SlotError> {
        self.slots.get(slot).ok_or(SlotError::NoSuchSlot(slot))
    }

    /// The limit for the answers of devices that are connected from now on.
    pub fn set_answer_limit(&mut self, limit: Duration) {
        self.answer_limit = limit;
    }

    /// The hart, to look at and to change while it does not run.
    pub fn hart(&mut self) -> &mut Hart {
        &mut self.hart
    }

    /// Guest memory. Call [`Hart::flush`] after a write.
    #[must_use]
    pub fn memory(&self) -> &GuestRam {
        &self.memory
    }

    /// Ends a run from any thread.
    #[must_use]
    pub fn notifier(&self) -> Arc<Notifier> {
        Arc::clone(&self.notifier)
    }

    /// The counters, for any thread.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// The log, for any thread.
    #[must_use]
    pub fn log(&self) -> Arc<AccessLog> {
        Arc::clone(&self.log)
    }

    /// Ticks of `mtime` per second, at least 1.
    pub(crate) fn timebase_hz(&self) -> u64 {
        self.time.hz().max(1)
    }

    /// Replace what serves a slot. A request that waits for it is dropped: the hart executes the
    /// instruction again, and the writes before it are held again.
    pub(crate) fn set_link(&mut self, slot: usize, link: Link) {
        if let Some(waiting) = self.waiting.take_if(|waiting| waiting.slot == slot) {
            self.held.put_back(waiting.held);
        }
        self.ask &= !(1 << slot);
        let source = self.slots[slot].source;
        self.plic.set_level(source, false, false);
        if let Link::Connected(old) = std::mem::replace(&mut self.slots[slot].link, link) {
            self.line_thread.remove(old.line_event.as_fd());
            self.line_thread.remove(old.channel.as_fd());
        }
    }

    /// All windows: first address, address after the last one, and what it is.
    fn windows(&self) -> Vec<(u64, u64, String)> {
        let ram = self.hart.ram();
        let fixed = [
            (ram.base(), ram.size(), "RAM"),
            (memory_map::SYSCON, syscon::SIZE, "the test device"),
            (memory_map::CLINT, clint::SIZE, "the CLINT"),
            (memory_map::PLIC, plic::SIZE, "the PLIC"),
        ];
        let fixed = fixed.map(|(address, size, what)| (address, address + size, what.into()));
        let slots = self.slots.iter().enumerate();
        let slots = slots.map(|(number, slot)| {
            (
                slot.address,
                slot.address + slot.size,
                format!("slot {number}"),
            )
        });
        fixed.into_iter().chain(slots).collect()
    }
}

/// Where guest memory is in this process.
fn host_address(memory: &GuestRam, address: u64, size: u64) -> io::Result<*mut u8> {
    let refusal = |message: String| io::Error::new(io::ErrorKind::InvalidInput, message);
    if address
        .checked_add(size)
        .is_none_or(|end| end > ADDRESS_END)
    {
        let message = format!("RAM at {address:#x} of {size:#x} bytes exceeds 56 address bits");
        return Err(refusal(message));
    }
    let region = memory.as_vm_memory().find_region(GuestAddress(address));
    let region = region.filter(|found| found.start_addr().0 == address && found.len() == size);
    region
        .and_then(|region| region.get_host_address(MemoryRegionAddress(0)).ok())
        .ok_or_else(|| refusal("RAM is not one region of guest memory".into()))
}
