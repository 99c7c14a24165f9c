//! The core-local interruptor: the software interrupt of the hart, and its timer.
//!
//! `mtime` is the hart's; `mtimecmp` is kept here too, since its halves are written one by one.

use virtmesh_hart::Hart;

/// Bytes of the register window.
pub const SIZE: u64 = 0x1_0000;

const MSIP: u64 = 0x0;
const MTIMECMP: u64 = 0x4000;
const MTIME: u64 = 0xBFF8;

/// State of the interruptor.
#[derive(Debug)]
pub struct Clint {
    /// The software interrupt is pending.
    pub msip: bool,
    mtimecmp: u64,
}

impl Default for Clint {
    fn default() -> Self {
        Self {
            msip: false,
            mtimecmp: u64::MAX,
        }
    }
}

impl Clint {
    /// Read 4 or 8 bytes; `None` for another width. Other places read as 0.
    #[must_use]
    pub fn read(&self, hart: &Hart, offset: u64, width: u8) -> Option<u64> {
        let word = |register: u64| match (width, offset % 8) {
            (8, 0) => Some(register),
            (4, 0) => Some(register & u64::from(u32::MAX)),
            (4, 4) => Some(register >> 32),
            _ => None,
        };
        match offset & !7 {
            MSIP => word(self.msip.into()),
            MTIMECMP => word(self.mtimecmp),
            MTIME => word(hart.mtime()),
            _ => word(0),
        }
    }

    /// Write 4 or 8 bytes; `None` for another width. Writes to other places are ignored.
    pub fn write(&mut self, hart: &mut Hart, offset: u64, width: u8, value: u64) -> Option<()> {
        let low = u64::from(u32::MAX);
        let merge = |register: u64| match (width, offset % 8) {
            (8, 0) => Some(value),
            (4, 0) => Some(register & !low | value & low),
            (4, 4) => Some(register & low | value << 32),
            _ => None,
        };
        match offset & !7 {
            MSIP => self.msip = merge(self.msip.into())? & 1 != 0,
            MTIMECMP => {
                self.mtimecmp = merge(self.mtimecmp)?;
                hart.set_mtimecmp(self.mtimecmp);
            }
            MTIME => hart.set_mtime(merge(hart.mtime())?),
            _ => {
                merge(0)?;
            }
        }
        Some(())
    }
}
