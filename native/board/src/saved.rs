//! Register writes that bring a restarted device to where the old one was.
//!
//! The writes that a device executed are noted; [`Saved::writes`] lists what to write again, in order.
//! What acts once is not noted: a notification, an acknowledgement, a character that is sent.

mod uart;
pub(crate) mod virtio;

use crate::wire::Operation;

/// What kind of register window a slot has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Virtio over MMIO.
    Virtio,
    /// NS16550A. Its places are `1 << shift` bytes apart.
    Uart {
        /// Binary logarithm of the distance of two places.
        shift: u8,
    },
    /// Any other: nothing is noted.
    Other,
}

/// The noted writes of one slot.
#[derive(Debug)]
pub enum Saved {
    /// Of virtio over MMIO.
    Virtio(Box<virtio::Registers>),
    /// Of an NS16550A.
    Uart(uart::Registers),
    /// Of a device that is not known.
    Nothing,
}

impl Saved {
    /// Nothing is noted yet.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Virtio => Self::Virtio(Box::default()),
            Kind::Uart { shift } => Self::Uart(uart::Registers::new(shift)),
            Kind::Other => Self::Nothing,
        }
    }

    /// Note a write that the device executed.
    pub fn note(&mut self, write: Operation) {
        match self {
            Self::Virtio(registers) => registers.note(write),
            Self::Uart(registers) => registers.note(write),
            Self::Nothing => {}
        }
    }

    /// The writes that restore the device, in order.
    #[must_use]
    pub fn writes(&self) -> Vec<Operation> {
        match self {
            Self::Virtio(registers) => registers.writes(),
            Self::Uart(registers) => registers.writes(),
            Self::Nothing => Vec::new(),
        }
    }

    /// Forget everything: the board was reset.
    pub fn clear(&mut self) {
        match self {
            Self::Virtio(registers) => **registers = virtio::Registers::default(),
            Self::Uart(registers) => registers.clear(),
            Self::Nothing => {}
        }
    }
}

/// Writes to distinct offsets: the last one of each, in the order of these last writes.
#[derive(Debug, Default)]
struct LastWrites(Vec<Operation>);

impl LastWrites {
    /// Note a write. With `limit` offsets noted, a further one takes the place of the oldest.
    fn note(&mut self, write: Operation, limit: usize) {
        self.forget(write.offset);
        if self.0.len() >= limit {
            self.0.remove(0);
        }
        self.0.push(write);
    }

    fn forget(&mut self, offset: u32) {
        self.0.retain(|noted| noted.offset != offset);
    }
}
