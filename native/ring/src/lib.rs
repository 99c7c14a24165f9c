//! Guest memory and virtqueues (virtio 1.4, 2.7), driver side and device side.
//!
//! | module | what it holds |
//! |---|---|
//! | [`memory`] | what a ring needs of memory, as a trait, and the mapped guest memory itself |
//! | [`layout`] | constants and offsets of the specification; where one queue is |
//! | [`chain`] | a descriptor chain, parsed |
//! | [`split`] | the split virtqueue: [`DeviceQueue`] and [`DriverQueue`] |
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

pub mod chain;
pub mod error;
pub mod layout;
pub mod memory;
pub mod split;
mod sync;

pub use chain::{Chain, Segment, Segments, extent};
pub use error::{ConfigError, MemoryError, RingError};
pub use layout::QueueConfig;
pub use memory::{GuestRam, RegionSpec, RingArea, RingMemory};
pub use split::{DeviceQueue, DriverQueue, Popper, Pusher};
