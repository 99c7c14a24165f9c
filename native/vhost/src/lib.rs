//! The native half of the vhost-user back end: the front end's memory.
//!
//! | module | what it holds |
//! |---|---|
//! | [`memory`] | guest memory as a front end hands it over |
//!
//! # Who does what
//!
//! Messages are rare, so Python parses them, by a table, over asyncio. Between a kick and the call no
//! Python runs: queues use the same rings and data paths as behind virtio-mmio, with the same kick and
//! call eventfds.
//!
//! The in-flight log is written where chains are popped and pushed, in `virtmesh_ring::inflight`. Its
//! memory is handed over by the front end too, and mapped by this crate.
//!
//! # Why not the crates `vhost` and `vhost-user-backend`
//!
//! They own the message loop and a thread of their own, answer the in-flight messages with an error,
//! and dispatch neither `SET_STATUS` nor in-band kicks; call descriptors have to be eventfds, and
//! those of user-mode Linux are stream sockets. What would be left of them is the layout of a dozen
//! messages.

pub mod memory;

pub use memory::FrontEndMemory;
