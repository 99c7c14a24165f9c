//! The packed virtqueue (virtio 1.4, 2.8).
//!
//! Who writes what in shared memory, and under which ordering the other side sees it:
//!
//! | word | written by | published by |
//! |---|---|---|
//! | `addr` of a descriptor, indirect tables | [`DriverRing`] | the word of the chain's first descriptor |
//! | `len`, `id`, `flags` of a descriptor, as one word | [`DriverRing`] to make it available | itself (release, acquire); the later ones of a chain by the first |
//! | the same word | [`UsedWriter`] to mark a chain used | itself (release, acquire) |
//! | the driver's event suppression | [`DriverRing`] | a full fence on both sides |
//! | the device's event suppression | [`AvailReader`] | a full fence on both sides |
//!
//! An entry of the ring changes hands by its word: whoever finds the flags of its own lap there, and not
//! yet taken, owns the entry.

mod device;
mod driver;
mod event_suppression;

pub(crate) use device::{AvailReader, UsedWriter, halves};
pub(crate) use driver::DriverRing;
