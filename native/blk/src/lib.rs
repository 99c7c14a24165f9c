//! The data path of virtio-blk (virtio 1.4, 5.2), from the ring to the image and back.
//!
//! | module | what it holds |
//! |---|---|
//! | [`parse`] | parse a chain whole into a request |
//! | [`request`] | a request, and its answer |
//! | [`buffer`] | the data of a request in guest memory |
//! | [`image`] | the image: a raw file or a block device node |
//! | [`transfer`] | moving bytes between the two |
//! | [`disk`] | execute one request |
//! | [`engine`] | execute many at a time |
//! | [`worker`] | the thread of one queue: take chains, give them back, interrupt |
//! | [`device`] | the queues of one device |
//! | [`stats`] | counters |
//!
//! # Threats
//!
//! | from | threat | answer |
//! |---|---|---|
//! | driver | bad chains, addresses, lengths, ring indexes | checked by `virtmesh-ring`; a broken ring asks for a reset |
//! | driver | bad requests | parsed whole before anything is done; answered IOERR or UNSUPP, or a reset asked for |
//! | driver | memory changed while a request runs | every value is read once; data is only moved |
//! | driver | doorbells filled, drained, made blocking | never waited for (`virtmesh-device`) |
//! | driver | requests that take long (4 GiB of data, many flushes) | other queues go on; a stop waits for the requests that run |
//! | others on the host | image cut off, or grown | requests past its end fail; it is never grown by a write. A cut between that check and the write can grow it back |
//! | others on the host | image used twice | `flock`; who does not look at locks is not kept out |
//! | storage | lost writes | after one failed flush every later flush fails |

pub mod buffer;
pub mod device;
pub mod disk;
pub mod engine;
pub mod image;
mod image_error;
pub mod parse;
pub mod request;
pub mod stats;
pub mod transfer;
pub mod worker;

pub use device::{BlkDevice, StartError};
pub use disk::{Disk, DiskOptions};
pub use engine::{Engine, SyncEngine};
pub use image::Image;
pub use image_error::{ImageError, ResizeError};
pub use parse::RangeLimits;
pub use request::RequestType;
pub use stats::{RequestStats, Stats, latency_bound};
