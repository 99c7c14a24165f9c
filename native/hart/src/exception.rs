//! Synchronous exceptions (RISC-V privileged, table "Machine cause register (mcause) values after trap").

use crate::exit::Exit;

/// Exception code, as `mcause` and `scause` hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// PMP or no memory at the fetched address.
    FetchAccess = 1,
    /// Not an instruction, or not allowed now.
    Illegal = 2,
    /// EBREAK.
    Breakpoint = 3,
    /// LR at an address that is no multiple of its width.
    LoadMisaligned = 4,
    /// PMP, no memory, or refused by the board.
    LoadAccess = 5,
    /// SC or AMO at an address that is no multiple of its width.
    StoreMisaligned = 6,
    /// As `LoadAccess`, for stores and AMOs.
    StoreAccess = 7,
    /// ECALL in U mode.
    EcallUser = 8,
    /// ECALL in S mode.
    EcallSupervisor = 9,
    /// ECALL in M mode.
    EcallMachine = 11,
    /// Page table forbids the fetch.
    FetchPage = 12,
    /// Page table forbids the load.
    LoadPage = 13,
    /// Page table forbids the store or AMO.
    StorePage = 15,
}

/// An exception and the value for `xtval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Why.
    pub cause: Cause,
    /// Virtual address, instruction bits, or 0.
    pub tval: u64,
}

impl Exception {
    /// An exception of `cause` with `tval`.
    #[must_use]
    pub const fn new(cause: Cause, tval: u64) -> Self {
        Self { cause, tval }
    }
}

/// Why an instruction did not retire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It raised an exception.
    Exception(Exception),
    /// It needs the board, and will be executed again.
    Exit(Exit),
}

impl From<Exception> for Stop {
    fn from(exception: Exception) -> Self {
        Self::Exception(exception)
    }
}
