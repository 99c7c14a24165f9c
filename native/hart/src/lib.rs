//! One RV64GC hart, written like a virtual CPU of KVM: no device, no I/O, no thread of its own.
//!
//! [`Hart::run`] executes guest code until something needs the outside: a load or store outside RAM,
//! WFI, the end of a budget, a breakpoint, a watchpoint or a kick. The instruction that left for a
//! device access is executed again with the [`answer`](Hart::answer), so its traps are precise.
//!
//! Implemented: RV64IMAFDC, Zicsr, Zifencei, Zicntr, Sstc, Svade and Svadu; M, S and U mode; Sv39
//! with 16 ASID bits; 16 PMP entries, enforced. Misaligned loads and stores to RAM work.
//!
//! | module | what it holds |
//! |---|---|
//! | [`ram`], [`exit`], [`time`] | guest memory, why `run` returned, what drives `mtime` |
//! | [`hart`], `run` | [`Hart`], its registers and interrupt lines; the outer loop |
//! | [`decode`] | instructions to micro-ops |
//! | `code` | decoded pages, and when they are decoded again |
//! | `execute` | micro-ops to effects |
//! | `mmu` | page tables, PMP, TLBs, loads and stores |
//! | [`csr`] | control and status registers |
//! | `trap`, `exception` | traps and interrupts |
//! | `debug` | break- and watchpoints |
//! | [`fp`] | IEEE 754 arithmetic on bit patterns |
//!
//! # Threats
//!
//! The guest is hostile, and RAM changes at any time by devices in other processes. Every guest
//! address is checked against RAM before it becomes a host address; page tables are read once for
//! each walk and changed by compare-and-swap only. Work between two looks at `kick` is bounded.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("host addresses are kept in 64 bits");

mod code;
pub mod csr;
mod debug;
pub mod decode;
mod exception;
mod execute;
pub mod exit;
pub mod fp;
pub mod hart;
mod mmu;
pub mod ram;
mod run;
pub mod time;
mod trap;

pub use exit::{Access, Exit};
pub use hart::{Hart, Privilege};
pub use ram::Ram;
pub use time::Time;
