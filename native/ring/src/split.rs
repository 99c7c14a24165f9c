//! The split virtqueue (virtio 1.4, 2.7).
//!
//! Who writes each word in shared memory, and which ordering publishes it to the other side:
//!
//! | word | written by | published by |
//! |---|---|---|
//! | `desc[]`, `avail.ring[]`, indirect tables | [`DriverRing`] | `avail.idx` (release, acquire) |
//! | `avail.idx` | [`DriverRing`] | itself |
//! | `avail.flags`, `used_event` | [`DriverRing`] | a full fence on both sides |
//! | `used.ring[]`, buffers the device wrote | [`UsedWriter`] | `used.idx` (release, acquire) |
//! | `used.idx` | [`UsedWriter`] | itself |
//! | `used.flags`, `avail_event` | [`AvailReader`] | a full fence on both sides |

mod chain;
mod device;
mod driver;

pub(crate) use device::{AvailReader, UsedWriter, halves};
pub(crate) use driver::DriverRing;
