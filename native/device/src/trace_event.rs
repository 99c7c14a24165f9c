//! Events of the flight recorder: their kinds, and how an event is packed into words.

/// Define [`EventKind`] and the table of its names from one list.
macro_rules! kinds {
    ($($name:ident = $number:literal $text:literal,)*) => {
        /// What happened. Names and numbers are those of `virtmesh.trace.v1.EventKind`, which says
        /// what the fields of a [`TraceEvent`] of each kind mean.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "trace.proto documents each")]
        pub enum EventKind {
            $($name = $number,)*
        }

        impl EventKind {
            /// Every kind, with its name in trace.proto (behind `EVENT_KIND_`).
            pub const ALL: &[(Self, &str)] = &[$((Self::$name, $text),)*];

            /// The kind of a number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    RegisterRead = 1 "REGISTER_READ",
    RegisterWrite = 2 "REGISTER_WRITE",
    ReadRefused = 3 "READ_REFUSED",
    WriteRefused = 4 "WRITE_REFUSED",
    Notify = 5 "NOTIFY",
    NotifySuppressed = 6 "NOTIFY_SUPPRESSED",
    Add = 7 "ADD",
    Pop = 8 "POP",
    RequestStart = 9 "REQUEST_START",
    RequestEnd = 10 "REQUEST_END",
    Push = 11 "PUSH",
    PopUsed = 12 "POP_USED",
    Interrupt = 13 "INTERRUPT",
    InterruptSuppressed = 14 "INTERRUPT_SUPPRESSED",
    Level = 15 "LEVEL",
    Acknowledge = 16 "ACKNOWLEDGE",
    Irq = 17 "IRQ",
    Status = 18 "STATUS",
    Reset = 19 "RESET",
    Attach = 20 "ATTACH",
    Detach = 21 "DETACH",
    Fault = 22 "FAULT",
    ReservedBits = 23 "RESERVED_BITS",
    Quirk = 24 "QUIRK",
    Violation = 25 "VIOLATION",
    CpuAccess = 26 "CPU_ACCESS",
    Injected = 27 "INJECTED",
    RequestHeld = 30 "REQUEST_HELD",
}

/// A notification came by the queue's eventfd (`NotifyWay` of trace.proto).
pub const NOTIFY_WAY_EVENTFD: u8 = 1;

/// Largest kind, detail and queue: one byte each on the wire, as a varint.
pub const SMALL_MAX: u8 = 0x7F;

/// Something that happened, without its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceEvent {
    /// What.
    pub kind: EventKind,
    /// A detail, at most [`SMALL_MAX`].
    pub detail: u8,
    /// Index of the queue, at most [`SMALL_MAX`].
    pub queue: u8,
    /// The chain, or the offset of the register.
    pub token: u32,
    /// A first value.
    pub value: u64,
    /// A second value.
    pub extra: u64,
}

impl TraceEvent {
    /// An event with nothing but a kind.
    #[must_use]
    pub const fn new(kind: EventKind) -> Self {
        Self {
            kind,
            detail: 0,
            queue: 0,
            token: 0,
            value: 0,
            extra: 0,
        }
    }

    /// An event of a queue.
    #[must_use]
    pub fn on_queue(kind: EventKind, queue: usize) -> Self {
        // Devices have at most 64 queues; a larger index was refused before.
        let queue = u8::try_from(queue).unwrap_or(SMALL_MAX).min(SMALL_MAX);
        Self {
            queue,
            ..Self::new(kind)
        }
    }

    /// An event of a chain.
    #[must_use]
    pub fn of_chain(kind: EventKind, queue: usize, token: u16, value: u64, extra: u64) -> Self {
        Self {
            token: token.into(),
            value,
            extra,
            ..Self::on_queue(kind, queue)
        }
    }

    /// This event with a detail, limited to [`SMALL_MAX`].
    #[must_use]
    pub fn with_detail(self, detail: u8) -> Self {
        Self {
            detail: detail.min(SMALL_MAX),
            ..self
        }
    }

    /// All but the values, in one word.
    pub(crate) fn pack(self) -> u64 {
        let [t0, t1, t2, t3] = self.token.to_le_bytes();
        u64::from_le_bytes([self.kind as u8, self.detail, self.queue, 0, t0, t1, t2, t3])
    }

    /// The inverse of [`TraceEvent::pack`]; None for a word that is not a packed event.
    pub(crate) fn unpack(word: u64, value: u64, extra: u64) -> Option<Self> {
        let [kind, detail, queue, _, t0, t1, t2, t3] = word.to_le_bytes();
        Some(Self {
            kind: EventKind::from_number(kind)?,
            detail,
            queue,
            token: u32::from_le_bytes([t0, t1, t2, t3]),
            value,
            extra,
        })
    }
}
