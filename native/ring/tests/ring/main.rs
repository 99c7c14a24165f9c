//! Tests of the public API of the rings.

// `tests/loom.rs` has what runs under loom.
#![cfg(not(loom))]

mod bad_devices;
mod bad_drivers;
mod bad_indirect_tables;
mod common;
mod configs;
mod garbage;
mod guest_ram;
mod inflight_kills;
mod inflight_logs;
mod killable_memory;
mod model;
mod notifications;
mod packed_devices;
mod packed_drivers;
mod peers;
mod processes;
mod resuming;
mod ring_state;
mod stress;
