//! The native half of the vhost-user back end: the front end's memory.
//!
//! | module | what it holds |
//! |---|---|
//! | [`memory`] | guest memory as a front end hands it over |
//! | `guard` | what keeps a file that is made shorter from killing this process |
//!
//! # Who does what
//!
//! Messages are rare, so that Python parses them (`virtmesh.host.vhost_*`), by a table, over asyncio.
//! From a kick to the call nothing passes through it: queues run on the same rings and data paths as
//! behind virtio-mmio, and a kick or call eventfd is the same to them, whichever way it came.
//!
//! The in-flight log is written where chains are taken and given back, in `virtmesh_ring::inflight`; its
//! memory is a front end's too, and mapped as such.
//!
//! # Why not the crates `vhost` and `vhost-user-backend`
//!
//! They own the message loop and a thread of their own, answer the in-flight messages with an error,
//! and dispatch neither `SET_STATUS` nor in-band kicks; call descriptors have to be eventfds, and
//! those of user-mode Linux are stream sockets. What would be left of them is the layout of a dozen
//! messages.

mod guard;
pub mod memory;

pub use memory::FrontEndMemory;
