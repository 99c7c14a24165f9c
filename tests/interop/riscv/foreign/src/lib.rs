//! What the kernels share: entry, heap, end of the machine, and one body for each version of virtio-drivers.

#![no_std]

extern crate alloc;

pub mod board;
pub mod heap;
mod kernel;
mod memory;
