//! Why [`run`](crate::Hart::run) returned.

/// One load or store outside RAM, which the board has to execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Physical address; a multiple of `width`.
    pub address: u64,
    /// Bytes: 1, 2, 4 or 8.
    pub width: u8,
    /// `Some` is a write of this value, zero-extended from `width` bytes. `None` is a read.
    pub value: Option<u64>,
    /// Virtual address of the instruction.
    pub pc: u64,
}

/// Why [`run`](crate::Hart::run) returned. Nothing is lost by any of them: `run` may be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A load or store outside RAM. Call [`answer`](crate::Hart::answer), then `run`.
    Access(Access),
    /// WFI was executed and no enabled interrupt is pending. The instruction is retired: another
    /// `run` goes on behind it.
    Wfi {
        /// The `mtime` at which the first enabled timer interrupt becomes pending.
        deadline: Option<u64>,
    },
    /// The budget is used up. Exactly that many instructions were retired by this call.
    Budget,
    /// `pc` is a breakpoint. The instruction is not executed; the next `run` executes it.
    Breakpoint,
    /// An instruction touched a watchpoint. It is executed and retired.
    Watchpoint {
        /// Virtual address of the access.
        address: u64,
    },
    /// `kick` was set. It is clear again.
    Kick,
}
