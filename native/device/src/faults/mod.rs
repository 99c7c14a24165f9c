//! Faults on demand: what a device does wrong because somebody ordered it.
//!
//! | module | what it holds |
//! |---|---|
//! | `rule` | one fault: what it does, where and when |
//! | `random` | the numbers that a seed gives |
//! | `table` | the faults of one device, and who asks for them |
//!
//! Every part that serves a device has its [`Interrupt`](crate::Interrupt), and asks there. While nothing
//! is ordered, a question is one load of an atomic. Whether a fault takes hold is a function of its seed
//! and of how many events it has seen, so a run is repeated by repeating the seed.

mod random;
mod rule;
mod table;

pub use rule::{About, FaultKind, Rule, Scope, Trigger};
pub use table::{FAULTS_MAX, Faults, Hit, State};
