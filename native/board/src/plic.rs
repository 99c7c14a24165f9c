//! The platform-level interrupt controller (RISC-V PLIC specification 1.0.0), with the two contexts of
//! one hart: 0 is machine mode, 1 is supervisor mode.
//!
//! A source is a level. What its gateway does with it is the [`Rule`]: that of the specification, or that
//! of QEMU's model, which kernels grown on QEMU may need.

use std::fmt;

/// Bytes of the register window.
pub const SIZE: u64 = 0x60_0000;
/// Sources are 1 to this one; 0 is no source.
pub const SOURCE_MAX: usize = 127;
/// Contexts: machine mode and supervisor mode of hart 0.
pub const CONTEXTS: usize = 2;
/// Priorities and thresholds are 0 to this one: three bits, as on QEMU's `virt` board.
pub const PRIORITY_MAX: u8 = 7;

/// Where the enable bits start (section 6), and bytes of one context.
const ENABLE: u64 = 0x2000;
const ENABLE_STRIDE: u64 = 0x80;
/// Where the pending bits start (section 5).
const PENDING: u64 = 0x1000;
/// Where threshold and claim registers start (sections 7 and 8), and bytes of one context.
const CONTEXT: u64 = 0x20_0000;
const CONTEXT_STRIDE: u64 = 0x1000;
/// Words of 32 sources that are there.
const WORDS: u64 = 4;

/// What a gateway makes of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The specification's level gateway: one request at a time. Completion of a source whose line is
    /// still up makes it pending again. A claim does not look at the threshold (section 8).
    Spec,
    /// QEMU's `sifive_plic`: each time a device drives its line high the source becomes pending, while
    /// it is claimed too; completion does not look at the line, and a claim respects the threshold.
    Qemu,
}

/// The access is refused: it has another width than 4 bytes, is misaligned, or outside the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAccess;

/// State of the controller. A bit set has one bit for each source.
#[derive(Clone)]
pub struct Plic {
    rule: Rule,
    priority: [u8; SOURCE_MAX + 1],
    enabled: [u128; CONTEXTS],
    threshold: [u8; CONTEXTS],
    level: u128,
    pending: u128,
    claimed: u128,
}

/// A register of the window.
enum Place {
    Priority(usize),
    Pending(usize),
    Enable(usize, usize),
    Threshold(usize),
    Claim(usize),
    Reserved,
}

impl Plic {
    /// The state after reset: nothing is enabled, all priorities are 0.
    #[must_use]
    pub fn new(rule: Rule) -> Self {
        Self {
            rule,
            priority: [0; SOURCE_MAX + 1],
            enabled: [0; CONTEXTS],
            threshold: [0; CONTEXTS],
            level: 0,
            pending: 0,
            claimed: 0,
        }
    }

    /// Reset the registers. The lines keep their levels: they belong to the devices.
    pub fn reset(&mut self) {
        let level = self.level;
        *self = Self::new(self.rule);
        self.level = level;
        self.pending = level;
    }

    /// The line of a source is up or down. `again`: it fell and rose, or the device drove it high once
    /// more, since this was last told; only [`Rule::Qemu`] looks at it.
    pub fn set_level(&mut self, source: usize, up: bool, again: bool) {
        let bit = source_bit(source);
        let rises = up && (self.level & bit == 0 || again);
        if up {
            self.level |= bit;
        } else {
            self.level &= !bit;
        }
        match self.rule {
            Rule::Spec => self.request(),
            Rule::Qemu if rises => self.pending |= bit,
            Rule::Qemu => {}
        }
    }

    /// Say whether the line of a source is up.
    #[must_use]
    pub fn is_up(&self, source: usize) -> bool {
        self.level & source_bit(source) != 0
    }

    /// Say whether the interrupt of a context is asserted: a pending, enabled source has a priority
    /// above the threshold.
    #[must_use]
    pub fn asserted(&self, context: usize) -> bool {
        self.best(context, self.threshold[context]) != 0
    }

    /// Read a register.
    ///
    /// # Errors
    /// [`BadAccess`]. Reserved places read as 0.
    pub fn read(&mut self, offset: u64, width: u8) -> Result<u32, BadAccess> {
        Ok(match place(offset, width)? {
            Place::Priority(source) => self.priority[source].into(),
            Place::Pending(word) => word_of(self.pending, word),
            Place::Enable(context, word) => word_of(self.enabled[context], word),
            Place::Threshold(context) => self.threshold[context].into(),
            Place::Claim(context) => self.claim(context),
            Place::Reserved => 0,
        })
    }

    /// Write a register.
    ///
    /// # Errors
    /// [`BadAccess`]. Writes to pending bits and reserved places are ignored.
    pub fn write(&mut self, offset: u64, width: u8, value: u32) -> Result<(), BadAccess> {
        match place(offset, width)? {
            // WARL: three bits.
            Place::Priority(source) => self.priority[source] = cut(value),
            Place::Threshold(context) => self.threshold[context] = cut(value),
            Place::Enable(context, word) => {
                let shift = 32 * word;
                // Bit 0 of word 0 is no source.
                let kept = self.enabled[context] & !(u128::from(u32::MAX) << shift);
                self.enabled[context] = (kept | u128::from(value) << shift) & !1;
            }
            Place::Claim(context) => self.complete(context, value),
            Place::Pending(_) | Place::Reserved => {}
        }
        Ok(())
    }

    /// Spec rule: a gateway whose line is up, and whose last request is complete, makes a request.
    fn request(&mut self) {
        self.pending |= self.level & !self.claimed;
    }

    /// The source to serve next: of the highest priority above `floor`, then of the lowest number.
    fn best(&self, context: usize, floor: u8) -> usize {
        let mut left = self.pending & self.enabled[context];
        if self.rule == Rule::Qemu {
            left &= !self.claimed;
        }
        let (mut best, mut highest) = (0, floor);
        while left != 0 {
            let source = left.trailing_zeros() as usize;
            left &= left - 1;
            if self.priority[source] > highest {
                (best, highest) = (source, self.priority[source]);
            }
        }
        best
    }

    fn claim(&mut self, context: usize) -> u32 {
        let floor = match self.rule {
            Rule::Spec => 0,
            Rule::Qemu => self.threshold[context],
        };
        let source = self.best(context, floor);
        if source != 0 {
            self.pending &= !source_bit(source);
            self.claimed |= source_bit(source);
        }
        u32::try_from(source).unwrap_or(0)
    }

    fn complete(&mut self, context: usize, source: u32) {
        let source = source as usize;
        if !(1..=SOURCE_MAX).contains(&source) {
            return;
        }
        let bit = source_bit(source);
        match self.rule {
            // Section 9: the completion of a source that is not enabled for the context is ignored.
            Rule::Spec if self.enabled[context] & bit == 0 => {}
            Rule::Spec => {
                self.claimed &= !bit;
                self.request();
            }
            Rule::Qemu => self.claimed &= !bit,
        }
    }
}

impl fmt::Debug for Plic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Plic")
            .field("rule", &self.rule)
            .field("level", &format_args!("{:#x}", self.level))
            .field("pending", &format_args!("{:#x}", self.pending))
            .field("claimed", &format_args!("{:#x}", self.claimed))
            .field("enabled", &format_args!("{:#x?}", self.enabled))
            .finish_non_exhaustive()
    }
}

/// The bit of a source; none for a number that is no source.
fn source_bit(source: usize) -> u128 {
    if (1..=SOURCE_MAX).contains(&source) {
        1 << source
    } else {
        0
    }
}

fn word_of(bits: u128, word: usize) -> u32 {
    u32::try_from((bits >> (32 * word)) & u128::from(u32::MAX)).unwrap_or_default()
}

fn cut(value: u32) -> u8 {
    // The lowest byte.
    value.to_le_bytes()[0] & PRIORITY_MAX
}

/// Find the register at an offset.
fn place(offset: u64, width: u8) -> Result<Place, BadAccess> {
    if width != 4 || !offset.is_multiple_of(4) || offset >= SIZE {
        return Err(BadAccess);
    }
    // All indices below are small: the offset is inside the window.
    let small = |number: u64| usize::try_from(number).unwrap_or_default();
    let index = |start: u64, stride: u64| small((offset - start) / stride);
    Ok(match offset {
        0x4..PENDING if index(0, 4) <= SOURCE_MAX => Place::Priority(index(0, 4)),
        PENDING.. if offset < PENDING + 4 * WORDS => Place::Pending(index(PENDING, 4)),
        ENABLE.. if offset < ENABLE + ENABLE_STRIDE * CONTEXTS as u64 => {
            let within = (offset - ENABLE) % ENABLE_STRIDE;
            if within < 4 * WORDS {
                Place::Enable(index(ENABLE, ENABLE_STRIDE), small(within / 4))
            } else {
                Place::Reserved
            }
        }
        CONTEXT.. if offset < CONTEXT + CONTEXT_STRIDE * CONTEXTS as u64 => {
            let context = index(CONTEXT, CONTEXT_STRIDE);
            match (offset - CONTEXT) % CONTEXT_STRIDE {
                0 => Place::Threshold(context),
                4 => Place::Claim(context),
                _ => Place::Reserved,
            }
        }
        _ => Place::Reserved,
    })
}
