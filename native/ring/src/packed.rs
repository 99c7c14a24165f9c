//! The packed virtqueue (virtio 1.4, 2.8).
//!
//! Who writes each word in shared memory, and which ordering publishes it to the other side:
//!
//! | word | written by | published by |
//! |---|---|---|
//! | `addr` of a descriptor, indirect tables | [`DriverRing`] | the word of the chain's first descriptor |
//! | `len`, `id`, `flags` of a descriptor, as one word | [`DriverRing`] to make it available | itself (release, acquire); the later ones of a chain by the first |
//! | the same word | [`UsedWriter`] to mark a chain used | itself (release, acquire) |
//! | the driver's event suppression | [`DriverRing`] | a full fence on both sides |
//! | the device's event suppression | [`AvailReader`] | a full fence on both sides |
//!
//! The word of a ring entry passes its ownership: the side that finds the flags of its current lap there,
//! in an entry that it has not consumed yet, owns the entry.

mod device;
mod driver;
mod event_suppression;

pub(crate) use device::{AvailReader, UsedWriter, halves};
pub(crate) use driver::DriverRing;
