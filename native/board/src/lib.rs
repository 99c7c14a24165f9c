//! The board around a RISC-V hart, laid out like QEMU's `virt`. No device is in it: each slot is a
//! register window whose device is another process.
//!
//! | module | what it holds |
//! |---|---|
//! | [`board`], [`run`] | [`Board`], and its run loop |
//! | `mmio`, [`slot`], [`requests`] | who answers an access; a device's descriptors; waiting for it |
//! | `held` | writes that go out with the next access |
//! | [`channel`], [`wire`] | the register channel and its packets |
//! | [`plic`], [`clint`], [`syscon`] | interrupts, timer, power |
//! | [`notifier`], [`line_thread`] | what other threads tell the hart's |
//! | [`quirks`] | what the board does for drivers that break rules |
//! | [`saved`] | register writes that restore a restarted device |
//! | [`access_log`], [`stats`] | what is told about a run |
//!
//! # Threats
//!
//! Guest and devices are hostile. An answer that is malformed, out of turn or late costs the device its
//! slot, never more; its line eventfd can cost one request each time it is signalled, while it keeps the
//! time limit of an answer; its kick eventfds are signalled without waiting. A guest that executes for
//! ever, or sleeps for ever, is left at a kick.

pub mod access_log;
pub mod board;
pub mod channel;
pub mod clint;
mod held;
pub mod line_thread;
pub mod memory_map;
mod mmio;
pub mod notifier;
pub mod plic;
pub mod quirks;
pub mod requests;
pub mod run;
pub mod saved;
pub mod slot;
pub mod stats;
pub mod syscon;
pub mod wire;

pub use board::{Board, Options};
pub use channel::{Channel, Lost};
pub use notifier::Notifier;
pub use plic::{Plic, Rule};
pub use run::{Exit, Reason};
pub use saved::Kind;
pub use wire::Operation;
