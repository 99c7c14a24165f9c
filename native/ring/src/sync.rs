//! Atomics that loom replaces when it checks the rings.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU16, AtomicU32};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU16, AtomicU32};
