//! The data path of virtio-blk (virtio 1.4, 5.2), from the ring to the image and back.
//!
//! | module | what it holds |
//! |---|---|
//! | [`parse`] | parses a whole chain into a request |
//! | `header` | where header, data and status byte lie in a chain |
//! | [`request`] | a request and its completion |
//! | [`buffer`] | the data of a request in guest memory |
//! | [`image`] | the image: a raw file or a block device node |
//! | `image::end` | where it ends, and a resize |
//! | [`direct`] | transfers past the page cache |
//! | `image_lock` | its locks, and who has them |
//! | `flushes` | flushes that overlap: if one fails, all do |
//! | [`failure`] | why requests failed |
//! | [`transfer`] | system calls that move bytes between the two |
//! | [`disk`] | the disk: options, features, execution of one request |
//! | [`job`] | the execution of one request that was submitted |
//! | `backlog` | which job is next, and how many threads an engine needs |
//! | `lanes` | jobs that wait, of each queue in turn |
//! | [`engine`] | executes many requests at a time, by threads; which engine a disk has |
//! | [`uring`] | executes reads and writes past the page cache by `io_uring` |
//! | `under_way` | writes in a ring, which a resize waits for |
//! | [`running`] | the requests of a queue that may be waiting for the storage |
//! | [`worker`] | one running queue, as its device sees it |
//! | `queue` | what the threads share that serve it, and what pushes chains and raises interrupts |
//! | `thread` | the thread of a queue: pops chains, executes what is quick |
//! | `pending` | completions of that thread that the driver has not been told of |
//! | `desk` | writes in line: who takes over when the storage hangs in one |
//! | `poll`, `processors` | when that thread polls before it sleeps |
//! | `ranges` | system calls that discard ranges of the image, or fill them with zeroes |
//! | `doorbell` | what wakes that thread |
//! | [`device`] | the queues of one device |
//! | [`spec`] | constants of the specification |
//! | `fault`, `held` | faults on demand of requests, and requests that they hold back |
//! | [`stats`] | counters |
//! | `log_format` | the format of that log |
//! | [`write_log`] | records what changes a disk, for looking at power losses |
//!
//! # Threats
//!
//! | from | threat | answer |
//! |---|---|---|
//! | driver | bad chains, addresses, lengths, ring indexes | checked by `virtmesh-ring`; a broken ring sets `DEVICE_NEEDS_RESET` |
//! | driver | bad requests | parsed whole before execution; completed with IOERR or UNSUPP, or `DEVICE_NEEDS_RESET` is set |
//! | driver | memory changed while a request runs | every value is read once; data is only moved |
//! | driver | eventfds filled, drained, made blocking | the device never waits for one (`virtmesh-device`) |
//! | driver | a queue full of requests | queues share the threads of the engine in turn |
//! | driver | requests that take long (4 GiB of data, many flushes) | other queues go on; a reset drops what was not begun, ends long transfers at their next piece, and does not wait for flushes |
//! | driver | refused requests with huge buffers | their data is not touched |
//! | others on the host | image truncated or grown | requests past its end fail; no write grows it. A truncation between that check and the write can grow it back |
//! | others on the host | image used twice | `flock`, and the locks of QEMU; programs that honour neither are not kept out |
//! | storage | hangs in some requests | others go on: the pool grows by as many threads as are stuck, within a bound, and no queue has all of it; a queue whose thread is stuck in a write gets another one, once |
//! | storage | executes what a killed service had in a ring | the image stays locked until then, so no write comes after one of the next service. A read can still arrive in guest memory: whoever drives must not give buffers of a dead service to others before the next one answers |
//! | storage | lost writes | after one failed flush every flush that ends later fails |

mod backlog;
pub mod buffer;
mod desk;
pub mod device;
pub mod direct;
pub mod disk;
mod doorbell;
pub mod engine;
pub mod failure;
mod fault;
mod flushes;
mod header;
mod held;
pub mod image;
mod image_error;
mod image_lock;
pub mod job;
mod lanes;
mod log_format;
pub mod parse;
mod pending;
mod poll;
mod processors;
mod queue;
mod ranges;
pub mod request;
pub mod rules;
pub mod running;
pub mod spec;
pub mod stats;
mod thread;
mod told;
pub mod transfer;
mod under_way;
pub mod uring;
mod violation;
pub mod worker;
pub mod write_log;

pub use device::{BlkDevice, StartError};
pub use disk::{Disk, DiskOptions};
pub use engine::{Chosen, Engine, EngineChoice, EngineError, NullEngine, SyncEngine};
pub use failure::{Failure, Failures, cause_names};
pub use image::{Image, Look};
pub use image_error::{ImageError, ResizeError};
pub use parse::RangeLimits;
pub use poll::PollLimit;
pub use request::RequestType;
pub use running::RunningRequest;
pub use stats::{RequestStats, Stats, latency_bound};
pub use uring::UringEngine;
pub use write_log::WriteLog;
