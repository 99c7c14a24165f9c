//! A slot of the board: a register window, the interrupt source beside it, and the connection to the
//! device that serves it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use virtmesh_device::{Call, EventfdError, Kick, Recorder, Signaller};

use crate::channel::Channel;
use crate::quirks::{Plan, Quirks};
use crate::saved::virtio::{QUEUE_READY, QUEUE_RESET, STATUS};
use crate::saved::{Kind, Saved};
use crate::wire::{Line, Operation};

/// How long a device may take for an answer. It is lost then.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Register of a virtio device that notifies a queue (virtio 1.4, 4.2.2).
const QUEUE_NOTIFY: u32 = 0x050;
/// Register of a virtio device by which the driver acknowledges interrupts.
const INTERRUPT_ACK: u32 = 0x064;
/// Where the configuration space begins. A write there acts at once: a cache is write-through for each
/// request that the guest publishes behind a fence, with a notification or without one.
const CONFIG: u32 = 0x100;
/// Registers of a virtio device that start, stop or reset something, or move the line.
const ACTING: [u32; 5] = [
    QUEUE_READY,
    QUEUE_NOTIFY,
    INTERRUPT_ACK,
    STATUS,
    QUEUE_RESET,
];
/// `MagicValue` and Version, which an empty slot has too (4.2.2.2: `DeviceID` 0 is a placeholder).
const PLACEHOLDER: [(u32, u64); 2] = [(0x000, 0x7472_6976), (0x004, 2)];
/// Place 1 of an NS16550A: IER, which moves the line (or DLM).
const IER: u32 = 1;
/// Place 7 of an NS16550A: SCR, which has no effect.
const SCR: u32 = 7;

/// Why a device can't be connected.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A line or kick descriptor is no eventfd.
    #[error(transparent)]
    Eventfd(#[from] EventfdError),
    /// The channel is no channel, or the system is out of something.
    #[error("the register channel is refused: {0}")]
    Channel(#[from] io::Error),
}

/// One slot.
#[derive(Debug)]
pub struct Slot {
    /// Physical address of its window.
    pub address: u64,
    /// Bytes of the window.
    pub size: u64,
    /// Its source of the PLIC.
    pub source: usize,
    /// What is noted of the registers.
    pub saved: Saved,
    /// What the board does in front of the device; only of a virtio slot.
    pub(crate) quirks: Option<Quirks>,
    /// Where the guest's accesses are recorded.
    pub(crate) recorder: Option<Arc<Recorder>>,
    pub(crate) kind: Kind,
    pub(crate) link: Link,
}

/// What serves a slot.
#[derive(Debug)]
pub(crate) enum Link {
    /// Nothing: reads give 0, writes are ignored.
    Absent,
    /// A device that is gone: to touch it ends the run.
    Lost(String),
    /// A device.
    Connected(Connection),
}

/// The descriptors of a device.
#[derive(Debug)]
pub(crate) struct Connection {
    pub channel: Channel,
    pub line_event: Kick,
    pub kicks: Vec<Call>,
    /// Its own: a device that fills the counters of its kicks keeps nobody else's waiting.
    pub signaller: Signaller,
    pub line: Line,
}

impl Drop for Connection {
    fn drop(&mut self) {
        for kick in &self.kicks {
            self.signaller.forget(kick);
        }
    }
}

impl Connection {
    /// Duplicate the descriptors.
    pub fn new(
        channel: BorrowedFd<'_>,
        line: RawFd,
        kicks: &[RawFd],
        limit: Duration,
    ) -> Result<Self, ConnectError> {
        let channel: OwnedFd = channel.try_clone_to_owned()?;
        let kicks: Result<Vec<_>, _> = kicks.iter().map(|kick| duplicate_kick(*kick)).collect();
        Ok(Self {
            kicks: kicks?,
            signaller: Signaller::new(),
            line_event: Kick::duplicate(line)?,
            channel: Channel::new(channel, limit)?,
            line: Line::default(),
        })
    }

    /// The eventfd that a write signals instead of being sent.
    pub fn kick_of(&self, kind: Kind, operation: Operation) -> Option<&Call> {
        let notifies = kind == Kind::Virtio
            && operation.offset == QUEUE_NOTIFY
            && operation.is_write()
            && operation.width() == 4;
        let queue = notifies.then(|| usize::try_from(operation.value).ok());
        self.kicks.get(queue??)
    }
}

impl Slot {
    /// An empty slot.
    #[must_use]
    pub fn new(address: u64, size: u64, source: usize, kind: Kind) -> Self {
        Self {
            address,
            size,
            source,
            saved: Saved::new(kind),
            quirks: None,
            recorder: None,
            kind,
            link: Link::Absent,
        }
    }

    /// What a quirk makes of an access; `None` if it goes to the device as it is.
    pub(crate) fn plan(&mut self, access: Operation) -> Option<Plan> {
        match (&mut self.quirks, &self.saved) {
            (Some(quirks), Saved::Virtio(registers)) => quirks.plan(registers, access),
            _ => None,
        }
    }

    /// Say whether a write may be held. One to a slot with quirks may not: they go by what is saved.
    #[must_use]
    pub(crate) fn may_hold(&self, operation: Operation) -> bool {
        operation.is_write()
            && match self.kind {
                Kind::Virtio => {
                    let offset = operation.offset;
                    self.quirks.is_none() && offset < CONFIG && !ACTING.contains(&offset)
                }
                Kind::Uart { shift } => operation.offset >> shift != IER,
                Kind::Other => false,
            }
    }

    /// What a read of an empty slot gives. An empty virtio slot is a placeholder: drivers look for the
    /// magic value, and pass over `DeviceID` 0.
    #[must_use]
    pub fn absent_value(&self, operation: Operation) -> u64 {
        let placeholder = PLACEHOLDER.iter().filter(|_| self.kind == Kind::Virtio);
        let mut found = placeholder.filter(|(offset, _)| *offset == operation.offset);
        found.next().map_or(0, |(_, value)| *value)
    }

    /// Say whether QEMU's model of the device drives its line anew after this access. That only matters
    /// while the line is up.
    #[must_use]
    pub fn drives_line(&self, operation: Operation) -> bool {
        match self.kind {
            Kind::Virtio => operation.is_write() && operation.offset == INTERRUPT_ACK,
            Kind::Uart { shift } => {
                let place = operation.offset >> shift;
                place == 0 || (operation.is_write() && place != SCR)
            }
            Kind::Other => operation.is_write(),
        }
    }
}

/// An eventfd that a device shares. It may be full or blocking: it is signalled without waiting.
fn duplicate_kick(descriptor: RawFd) -> Result<Call, EventfdError> {
    // Kick checks that it is an eventfd; Call alone would take a socket too.
    let kick = Kick::duplicate(descriptor)?;
    Call::duplicate(kick.as_fd().as_raw_fd())
}
