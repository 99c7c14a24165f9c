//! Decoded instructions, by physical page.
//!
//! | module | what it holds |
//! |---|---|
//! | [`page`] | the micro-ops of one page, decoded as they are reached |
//! | [`cache`] | the pages, and which of them a store must not pass by |
//!
//! # When code changes
//!
//! A page keeps a copy of the lines (64 bytes) that were decoded. When the cache's generation has moved
//! on, a page compares its copy with RAM before it is executed again, and forgets its micro-ops if they
//! differ. The generation moves on at FENCE.I, at a write of another `satp`, at `flush()`, and when this
//! hart stores to a decoded line: such pages are kept out of the store TLB. So the hart's own stores are
//! seen at the next instruction, and a device's at the next FENCE.I or change of address space.

pub mod cache;
pub mod page;
