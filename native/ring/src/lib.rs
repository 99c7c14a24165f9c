//! Guest memory and virtqueues (virtio 1.4, 2.7 and 2.8), driver side and device side.
//!
//! | module | what it holds |
//! |---|---|
//! | [`memory`] | the trait by which rings access memory, and mapped guest memory |
//! | [`layout`] | constants and offsets of the specification |
//! | [`config`] | the addresses, size and format of one queue |
//! | [`descriptor_chain`] | a descriptor chain copied out of the ring and checked |
//! | [`device`], [`driver`] | [`DeviceQueue`] and [`DriverQueue`], for both ring formats |
//! | `split`, `packed` | the format-specific halves |
//! | `state` | [`RingState`]: where another device side continues |
//! | [`inflight`] | the in-flight log, by which a restarted device resubmits chains |
//! | [`error`] | the error types |
//!
//! # Threats
//!
//! The peer maps the same memory and may write any of it at any time. Hence three rules: each value
//! that the peer can write is read exactly once; it is checked before it is used; values written for
//! the peer are never read back (each side keeps its own copy). After a violation by the peer the
//! queue stays broken: every later call returns the first error, and a new queue has to be made.
//!
//! # Why not `virtio-queue`
//!
//! rust-vmm's `virtio_queue::Queue` does not serve: it ends a malformed chain silently, while this
//! project has to name the violated rule and ask for a reset; it has no driver side; it pops and pushes
//! through one `&mut`, while here one thread pops and others push; its memory is a concrete mapping, so
//! its fences can't be model-checked. `examples/ring_bench.rs` finds the two equally fast, although
//! this crate checks the bounds of every buffer. `vm-memory` is used.

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
mod spec;
mod split;
mod state;
mod sync;

pub use config::QueueConfig;
pub use descriptor_chain::{Chain, Segment, Segments, chain_totals};
pub use device::{AvailConsumer, DeviceQueue, UsedProducer};
pub use driver::DriverQueue;
pub use error::{ConfigError, MemoryError, RULES, RingError, StateError};
pub use inflight::LogRegion;
pub use memory::{GuestRam, RegionSpec, RingArea, RingMemory};
pub use state::{AvailState, RingState};
