//! Guest memory and virtqueues (virtio 1.4, 2.7 and 2.8), driver side and device side.
//!
//! | module | what it holds |
//! |---|---|
//! | [`memory`] | what a ring needs of memory, as a trait, and the mapped guest memory itself |
//! | [`layout`] | constants and offsets of the specification |
//! | [`config`] | where one queue is, and of which kind |
//! | [`descriptor_chain`] | a descriptor chain, parsed |
//! | [`device`], [`driver`] | the two sides, [`DeviceQueue`] and [`DriverQueue`], of either kind of queue |
//! | `split`, `packed` | what the kinds differ in |
//! | [`inflight`] | the log of what a device side took, for the one after it |
//! | [`error`] | everything that can go wrong |
//!
//! # Threats
//!
//! The peer maps the same memory and may write any of it at any time. Hence three rules: a value the
//! peer can write is read exactly once; it is checked before it is used; and what was once written
//! for the peer is never read back (each side keeps its own copy). A queue whose peer broke the rules
//! is broken for good: every later call returns the first error, and the queue has to be made anew.
//!
//! # Why not `virtio-queue`
//!
//! rust-vmm's `virtio_queue::Queue` was weighed and left out: it ends a bad chain silently where this
//! project has to name the broken rule and ask for a reset; it has no driver side; it takes and
//! returns chains through one `&mut`, where here one thread takes while others return; and its memory
//! is a concrete mapping, so that its fences can't be model-checked. Speed is no reason either way:
//! `examples/ring_bench.rs` finds the two alike, with every buffer's bounds checked here. `vm-memory`
//! does serve.

mod chain_builder;
pub mod config;
pub mod descriptor_chain;
pub mod device;
pub mod driver;
pub mod error;
mod format;
mod indirect;
pub mod inflight;
mod inflight_heads;
pub mod layout;
pub mod memory;
mod packed;
mod shadow;
mod split;
mod sync;

pub use config::QueueConfig;
pub use descriptor_chain::{Chain, Segment, Segments, chain_totals};
pub use device::{AvailConsumer, DeviceQueue, UsedProducer};
pub use driver::DriverQueue;
pub use error::{ConfigError, MemoryError, RingError};
pub use inflight::LogRegion;
pub use memory::{GuestRam, RegionSpec, RingArea, RingMemory};
