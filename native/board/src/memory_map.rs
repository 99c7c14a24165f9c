//! The fixed part of the board's memory map: that of QEMU's `virt` board.

/// The test device and system controller.
pub const SYSCON: u64 = 0x10_0000;
/// Core-local interruptor: software interrupt and timer.
pub const CLINT: u64 = 0x200_0000;
/// Platform-level interrupt controller.
pub const PLIC: u64 = 0xC00_0000;
