//! How a service gives up what it does not need, for good: nothing here can be undone.
//!
//! [`harden`] and [`confine`] hold for the calling thread and the threads that it starts later, so they are
//! called while it is the only one. [`filter`] holds for all threads.

mod filter;
mod landlock;
mod process;

pub use filter::{FilterError, compile, filter};
pub use landlock::{Access, ConfineError, Confined, Rules, confine};
pub use process::{harden, threads};
