//! Executing micro-ops.
//!
//! | module | what it holds |
//! |---|---|
//! | `dispatch` | the loop over the micro-ops of a page |
//! | `integer` | multiplication and division as RISC-V defines them |
//! | `atomic` | the A extension |
//! | `float` | the F and D extensions |
//! | `system` | SYSTEM, CSR instructions, FENCE.I |

mod atomic;
mod dispatch;
mod float;
pub mod integer;
mod system;

pub use atomic::Reservation;
pub(crate) use dispatch::Leave;
