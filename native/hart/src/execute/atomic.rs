//! The A extension (RISC-V unprivileged, "A"). RAM is shared, so all are atomic operations of the host,
//! sequentially consistent whatever `aq` and `rl` say.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

use super::integer::word;
use crate::decode::fields::{funct3, funct7, rd, rs1, rs2};
use crate::exception::Exception;
use crate::hart::Hart;
use crate::mmu::{AtomicPlace, Kind};

const LR: u32 = 0x02;
const SC: u32 = 0x03;

/// What LR reserved. SC stores if the memory still holds the value that LR read, by compare-and-swap.
#[derive(Clone, Copy, Debug)]
pub struct Reservation {
    /// Host address.
    address: usize,
    width: u64,
    value: u64,
}

impl Hart {
    /// Execute `raw`, an instruction of the A extension.
    pub(crate) fn atomic(&mut self, raw: u32) -> Result<(), Exception> {
        let width = if funct3(raw) == 2 { 4 } else { 8 };
        let va = self.x[usize::from(rs1(raw))];
        let source = self.x[usize::from(rs2(raw))];
        let operation = funct7(raw) >> 2;
        let kind = if operation == LR {
            Kind::Load
        } else {
            Kind::Store
        };
        let AtomicPlace { pointer, slow } = self.atomic_address(va, width, kind)?;
        // SAFETY: `atomic_address` gives aligned RAM of this width.
        let cell = unsafe { Cell::new(pointer, width) };
        let value = match operation {
            LR => {
                let value = cell.load();
                self.reservation = Some(Reservation {
                    address: pointer as usize,
                    width,
                    value,
                });
                value
            }
            SC => {
                let stored = self.reservation.take().is_some_and(|reserved| {
                    reserved.address == pointer as usize
                        && reserved.width == width
                        && cell.compare_exchange(reserved.value, source)
                });
                u64::from(!stored)
            }
            _ => cell.modify(operation, source),
        };
        match slow {
            Some(_) if kind == Kind::Load => self.watch(va, width, kind),
            Some((address, uniform)) => self.finish_store(va, address, width, uniform),
            None => {}
        }
        let value = if width == 4 { word(value) } else { value };
        self.set_x(usize::from(rd(raw)), value);
        Ok(())
    }
}

/// A word of RAM that is shared with other processes.
#[derive(Clone, Copy)]
enum Cell<'a> {
    Word(&'a AtomicU32),
    Double(&'a AtomicU64),
}

#[allow(clippy::cast_possible_truncation)] // words take the low half
impl Cell<'_> {
    /// # Safety
    /// `pointer` is aligned to `width` (4 or 8) and points to memory mapped while the value lives.
    #[allow(clippy::cast_ptr_alignment)] // the caller promises it
    unsafe fn new(pointer: *mut u8, width: u64) -> Self {
        // SAFETY: the caller promises it.
        unsafe {
            if width == 4 {
                Cell::Word(&*pointer.cast::<AtomicU32>())
            } else {
                Cell::Double(&*pointer.cast::<AtomicU64>())
            }
        }
    }

    fn load(self) -> u64 {
        match self {
            Cell::Word(cell) => cell.load(SeqCst).into(),
            Cell::Double(cell) => cell.load(SeqCst),
        }
    }

    fn compare_exchange(self, old: u64, new: u64) -> bool {
        match self {
            Cell::Word(cell) => cell
                .compare_exchange(old as u32, new as u32, SeqCst, SeqCst)
                .is_ok(),
            Cell::Double(cell) => cell.compare_exchange(old, new, SeqCst, SeqCst).is_ok(),
        }
    }

    /// The AMO `operation` (funct5) with `source`; the value before.
    fn modify(self, operation: u32, source: u64) -> u64 {
        match self {
            Cell::Word(cell) => {
                let source = source as u32;
                let signed = |f: fn(i32, i32) -> i32| {
                    update_32(cell, |old| {
                        f(old.cast_signed(), source.cast_signed()).cast_unsigned()
                    })
                };
                match operation {
                    0x00 => cell.fetch_add(source, SeqCst),
                    0x01 => cell.swap(source, SeqCst),
                    0x04 => cell.fetch_xor(source, SeqCst),
                    0x08 => cell.fetch_or(source, SeqCst),
                    0x0c => cell.fetch_and(source, SeqCst),
                    0x10 => signed(i32::min),
                    0x14 => signed(i32::max),
                    0x18 => cell.fetch_min(source, SeqCst),
                    _ => cell.fetch_max(source, SeqCst),
                }
                .into()
            }
            Cell::Double(cell) => {
                let signed = |f: fn(i64, i64) -> i64| {
                    update_64(cell, |old| {
                        f(old.cast_signed(), source.cast_signed()).cast_unsigned()
                    })
                };
                match operation {
                    0x00 => cell.fetch_add(source, SeqCst),
                    0x01 => cell.swap(source, SeqCst),
                    0x04 => cell.fetch_xor(source, SeqCst),
                    0x08 => cell.fetch_or(source, SeqCst),
                    0x0c => cell.fetch_and(source, SeqCst),
                    0x10 => signed(i64::min),
                    0x14 => signed(i64::max),
                    0x18 => cell.fetch_min(source, SeqCst),
                    _ => cell.fetch_max(source, SeqCst),
                }
            }
        }
    }
}

fn update_32(cell: &AtomicU32, f: impl Fn(u32) -> u32) -> u32 {
    cell.fetch_update(SeqCst, SeqCst, |old| Some(f(old)))
        .unwrap_or_else(|old| old)
}

fn update_64(cell: &AtomicU64, f: impl Fn(u64) -> u64) -> u64 {
    cell.fetch_update(SeqCst, SeqCst, |old| Some(f(old)))
        .unwrap_or_else(|old| old)
}
