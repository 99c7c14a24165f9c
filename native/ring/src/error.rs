//! The errors of this crate. Each variant carries the values that its message names.
//!
//! ```text
//! MemoryError     guest memory was refused, or an access left it
//! ConfigError     the configuration of a queue is refused
//! RingError       the peer violated the specification, or this side misused the queue
//! StateError      bytes are not a ring state
//! ```

mod config;
mod memory;
mod ring;
mod state;

pub use config::ConfigError;
pub use memory::MemoryError;
pub use ring::{RULES, RingError};
pub use state::StateError;
