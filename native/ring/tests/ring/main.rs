//! The rings as their users see them.

// `tests/loom.rs` has what runs under loom.
#![cfg(not(loom))]

mod bad_devices;
mod bad_drivers;
mod bad_tables;
mod common;
mod configs;
mod garbage;
mod guest_ram;
mod notifications;
mod peers;
mod processes;
mod programs;
mod stress;
