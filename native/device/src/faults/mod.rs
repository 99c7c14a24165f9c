//! Faults on demand: what a device does wrong because somebody ordered it.
//!
//! | module | what it holds |
//! |---|---|
//! | `recorded` | how a fault that took hold is recorded |
//! | `rule` | one fault: what it does, where and when |
//! | `delay` | how long it delays what it takes |
//! | `later` | what is held back, and who lets it go on |
//! | `random` | the numbers that a seed gives |
//! | `transport` | interrupts, notifications and queues, of devices of every kind |
//! | `table` | the faults of one device, and who asks for them |
//!
//! Every part that serves a device has its [`Interrupt`](crate::Interrupt), and asks there. While nothing
//! is ordered, a question is one load of an atomic. Whether a fault takes hold is a function of its seed
//! and of how many events it has seen, so a run is repeated by repeating the seed.

mod delay;
mod later;
mod random;
mod recorded;
mod rule;
mod table;
mod transport;

pub use delay::{DELAY_MAX_US, Delay};
pub use later::{Held, call_after, release_after};
pub use rule::{About, FaultKind, Rule, Scope, Trigger};
pub use table::{FAULTS_MAX, Faults, Hit, State};
pub(crate) use transport::Raised;
