//! A module for each fuzz target, or for two that have one oracle.

pub mod blk_request;
pub mod board_channel;
pub mod gpu_pixels;
pub mod hart;
pub mod inflight_log;
pub mod register_channel;
pub mod ring;
pub mod ring_driver;
