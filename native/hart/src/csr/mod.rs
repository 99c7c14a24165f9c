//! Control and status registers (RISC-V privileged, 20240411).
//!
//! | module | what it holds |
//! |---|---|
//! | [`number`] | their numbers |
//! | `status`, `interrupt` | bits of `mstatus`, `mip` and `mie` |
//! | `counter` | `mcycle` and `minstret` |
//! | `state` | what they store |
//! | `access` | who may access which |
//! | `read`, `write` | their values, WARL rules and side effects |

mod access;
mod counter;
pub(crate) mod interrupt;
pub mod number;
mod read;
pub(crate) mod state;
pub(crate) mod status;
mod write;
