//! The split virtqueue (virtio 1.4, 2.7).
//!
//! Who writes what in shared memory, and under which ordering the other side sees it:
//!
//! | word | written by | published by |
//! |---|---|---|
//! | `desc[]`, `avail.ring[]`, indirect tables | [`DriverQueue`] | `avail.idx` (release, acquire) |
//! | `avail.idx` | [`DriverQueue`] | itself |
//! | `avail.flags`, `used_event` | [`DriverQueue`] | a full fence on both sides |
//! | `used.ring[]`, buffers the device wrote | [`Pusher`] | `used.idx` (release, acquire) |
//! | `used.idx` | [`Pusher`] | itself |
//! | `used.flags`, `avail_event` | [`Popper`] | a full fence on both sides |

mod device;
mod driver;
mod heads;
mod shadow;
mod walk;
mod writer;

pub use device::{DeviceQueue, Popper, Pusher};
pub use driver::DriverQueue;
