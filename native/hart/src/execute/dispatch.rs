//! The loop over the micro-ops of a page.
//!
//! It leaves for whatever needs more than registers, the TLBs and the decoded page. Retired instructions are
//! counted by the distance of pointers, at jumps only; so the limit is looked at there, and a run
//! exceeds it by at most one page of instructions (2048).
#![allow(clippy::inline_always)] // on the path of every instruction

use std::sync::atomic::{Ordering, fence};

use super::integer as int;
use crate::code::page::Page;
use crate::csr::status;
use crate::decode::op::{Code, Op, SINK};
use crate::exception::{Cause, Exception, Stop};
use crate::hart::Hart;
use crate::ram::PAGE_SIZE;

const OFFSET: u64 = PAGE_SIZE - 1;

/// Why the loop was left. `pc` is the instruction that did not retire, or the next one.
#[derive(Debug)]
pub(crate) enum Leave {
    /// Look at what is pending, and go on at `pc`.
    Next,
    /// The instruction at `pc` ends on the next page.
    Split,
    /// The instruction at `pc` is this one, of SYSTEM or FENCE.I.
    System(u32),
    /// The instruction at `pc` is a breakpoint.
    Breakpoint,
    /// The instruction at `pc` could not be executed.
    Stop(Stop),
}

impl Hart {
    /// Execute from byte `offset` of `page`, which is at virtual address `page_va`, until about `limit`
    /// instructions have retired. With `CAREFUL` the limit is exact, breakpoints are looked at, and leaving
    /// the page leaves the loop.
    #[allow(clippy::too_many_lines)] // one arm for each instruction
    #[allow(clippy::undocumented_unsafe_blocks)] // one argument for all, below
    #[allow(clippy::cast_possible_truncation)] // loads and stores take the low bits
    #[allow(clippy::cast_possible_wrap)] // sign extension
    #[allow(clippy::cast_sign_loss)] // bit patterns
    pub(crate) fn execute<const CAREFUL: bool>(
        &mut self,
        page: *mut Page,
        page_va: u64,
        offset: u64,
        limit: i64,
    ) -> Leave {
        let (mut page, mut page_va, mut left) = (page, page_va, limit);
        let mut index = self.locate(page, offset);
        // SAFETY: `page` is in the cache or the caller's; no reference to it lives here.
        let mut ops: *const Op = unsafe { (*page).ops() };
        // SAFETY: `index` is below the number of micro-ops.
        let mut at = unsafe { ops.add(index) };
        let mut start = at;

        // SAFETY (all dereferences of `at` and `page` in this function): `at` points to a micro-op of
        // `page`. It moves by one behind micro-ops that don't end a run, and a run always has another
        // one then (`Page::decode_run`); or to an index from `locate`. What it points into moves only when
        // something is decoded, by `locate`, after which `ops` and `at` are made anew; pages are freed only
        // by `Cache::find`, which is not called here.
        macro_rules! op {
            () => {
                unsafe { &*at }
            };
        }
        macro_rules! a {
            () => {
                self.x[op!().a as usize]
            };
        }
        macro_rules! b {
            () => {
                self.x[op!().b as usize]
            };
        }
        macro_rules! imm {
            () => {
                i64::from(op!().imm) as u64
            };
        }
        macro_rules! set {
            ($value:expr) => {{
                let value: u64 = $value;
                self.x[op!().d as usize] = value;
            }};
        }
        // Retired since `start`, without the present micro-op.
        macro_rules! since {
            () => {
                unsafe { at.offset_from(start) as i64 }
            };
        }
        // Virtual address of the present micro-op.
        macro_rules! here {
            () => {
                page_va.wrapping_add(unsafe { (*page).offset(at.offset_from(ops) as usize) })
            };
        }
        // Leave; the present instruction has not retired.
        macro_rules! stop {
            ($leave:expr) => {{
                left -= since!();
                break (here!(), $leave);
            }};
        }
        macro_rules! raise {
            ($cause:expr, $tval:expr) => {
                stop!(Leave::Stop(Stop::Exception(Exception::new($cause, $tval))))
            };
        }
        // Leave if something needs a look; the present instruction, which ends no run, has retired.
        macro_rules! attend {
            () => {
                if self.attention {
                    at = unsafe { at.add(1) };
                    stop!(Leave::Next)
                }
            };
        }
        macro_rules! place {
            ($offset:expr) => {{
                let offset: u64 = $offset;
                match unsafe { (*page).index(offset) } {
                    Some(known) => index = known,
                    None => {
                        index = self.locate(page, offset);
                        ops = unsafe { (*page).ops() };
                    }
                }
                at = unsafe { ops.add(index) };
                start = at;
                continue;
            }};
        }
        // Go on at a byte offset of this page.
        macro_rules! near {
            ($offset:expr) => {{
                let offset: u64 = $offset;
                left -= since!() + 1;
                if left <= 0 {
                    break (page_va.wrapping_add(offset), Leave::Next);
                }
                place!(offset)
            }};
        }
        // Go on at a virtual address, when `retired` more instructions have retired.
        macro_rules! far {
            ($va:expr, $retired:literal) => {{
                let va: u64 = $va;
                left -= since!() + $retired;
                if CAREFUL || left <= 0 {
                    break (va, Leave::Next);
                }
                let Some(number) = self.fetch_tlb.get(va, 1) else {
                    break (va, Leave::Next);
                };
                page = self.code.page(number);
                page_va = va & !OFFSET;
                ops = unsafe { (*page).ops() };
                place!(va & OFFSET)
            }};
        }
        macro_rules! branch {
            ($condition:expr) => {
                if $condition {
                    near!(op!().imm as u64)
                }
            };
        }
        macro_rules! load {
            ($width:literal, $store:expr) => {{
                let va = a!().wrapping_add(imm!());
                if let Some(value) = self.load_fast(va, $width) {
                    $store(&mut *self, op!().d, value);
                } else {
                    self.pc_of_access = here!();
                    match self.load_slow(va, $width) {
                        Ok(value) => $store(&mut *self, op!().d, value),
                        Err(why) => stop!(Leave::Stop(why)),
                    }
                    attend!();
                }
            }};
        }
        macro_rules! store {
            ($width:literal, $value:expr) => {{
                let va = a!().wrapping_add(imm!());
                let value: u64 = $value;
                if !self.store_fast(va, $width, value) {
                    self.pc_of_access = here!();
                    if let Err(why) = self.store_slow(va, $width, value) {
                        stop!(Leave::Stop(why));
                    }
                    attend!();
                }
            }};
        }
        macro_rules! need_fpu {
            () => {
                if self.csrs.mstatus & status::FS == 0 {
                    let raw = unsafe { (*page).raw((*page).offset(at.offset_from(ops) as usize)) };
                    raise!(Cause::Illegal, raw.into())
                }
            };
        }
        // Return address: its offset in the page stands in two bytes.
        macro_rules! link {
            () => {
                page_va.wrapping_add(u16::from_le_bytes([op!().a, op!().b]).into())
            };
        }

        let (pc, leave) = loop {
            if CAREFUL {
                if left - since!() <= 0 {
                    stop!(Leave::Next);
                }
                if self.debug.breaks_at(here!()) {
                    stop!(Leave::Breakpoint);
                }
            }
            match op!().code {
                Code::Li => set!(imm!()),
                Code::Auipc => set!(page_va.wrapping_add(imm!())),
                Code::Addi => set!(a!().wrapping_add(imm!())),
                Code::Slti => set!(((a!() as i64) < imm!() as i64).into()),
                Code::Sltiu => set!((a!() < imm!()).into()),
                Code::Xori => set!(a!() ^ imm!()),
                Code::Ori => set!(a!() | imm!()),
                Code::Andi => set!(a!() & imm!()),
                Code::Slli => set!(a!() << (op!().imm & 63)),
                Code::Srli => set!(a!() >> (op!().imm & 63)),
                Code::Srai => set!((a!() as i64 >> (op!().imm & 63)) as u64),
                Code::Addiw => set!(int::word(a!().wrapping_add(imm!()))),
                Code::Slliw => set!(int::word(a!() << (op!().imm & 31))),
                Code::Srliw => set!(int::word((a!() as u32 >> (op!().imm & 31)).into())),
                Code::Sraiw => set!(i64::from(a!() as i32 >> (op!().imm & 31)) as u64),
                Code::Add => set!(a!().wrapping_add(b!())),
                Code::Sub => set!(a!().wrapping_sub(b!())),
                Code::Sll => set!(a!() << (b!() & 63)),
                Code::Slt => set!(((a!() as i64) < b!() as i64).into()),
                Code::Sltu => set!((a!() < b!()).into()),
                Code::Xor => set!(a!() ^ b!()),
                Code::Srl => set!(a!() >> (b!() & 63)),
                Code::Sra => set!((a!() as i64 >> (b!() & 63)) as u64),
                Code::Or => set!(a!() | b!()),
                Code::And => set!(a!() & b!()),
                Code::Addw => set!(int::word(a!().wrapping_add(b!()))),
                Code::Subw => set!(int::word(a!().wrapping_sub(b!()))),
                Code::Sllw => set!(int::word(a!() << (b!() & 31))),
                Code::Srlw => set!(int::word((a!() as u32 >> (b!() & 31)).into())),
                Code::Sraw => set!(i64::from(a!() as i32 >> (b!() & 31)) as u64),
                Code::Mul => set!(a!().wrapping_mul(b!())),
                Code::Mulh => set!(int::mulh(a!(), b!())),
                Code::Mulhsu => set!(int::mulhsu(a!(), b!())),
                Code::Mulhu => set!(int::mulhu(a!(), b!())),
                Code::Div => set!(int::div(a!(), b!())),
                Code::Divu => set!(int::divu(a!(), b!())),
                Code::Rem => set!(int::rem(a!(), b!())),
                Code::Remu => set!(int::remu(a!(), b!())),
                Code::Mulw => set!(int::word(a!().wrapping_mul(b!()))),
                Code::Divw => set!(int::divw(a!(), b!())),
                Code::Divuw => set!(int::divuw(a!(), b!())),
                Code::Remw => set!(int::remw(a!(), b!())),
                Code::Remuw => set!(int::remuw(a!(), b!())),
                Code::Lb => load!(1, |hart: &mut Self, d, v| hart
                    .write_x(d, i64::from(v as i8) as u64)),
                Code::Lh => load!(2, |hart: &mut Self, d, v| hart
                    .write_x(d, i64::from(v as i16) as u64)),
                Code::Lw => load!(4, |hart: &mut Self, d, v| hart.write_x(d, int::word(v))),
                Code::Ld => load!(8, Self::write_x),
                Code::Lbu => load!(1, Self::write_x),
                Code::Lhu => load!(2, Self::write_x),
                Code::Lwu => load!(4, Self::write_x),
                Code::Sb => store!(1, b!()),
                Code::Sh => store!(2, b!()),
                Code::Sw => store!(4, b!()),
                Code::Sd => store!(8, b!()),
                Code::Flw => {
                    need_fpu!();
                    load!(4, Self::write_f_single);
                }
                Code::Fld => {
                    need_fpu!();
                    load!(8, Self::write_f);
                }
                Code::Fsw => {
                    need_fpu!();
                    store!(4, self.f[(op!().b & 31) as usize]);
                }
                Code::Fsd => {
                    need_fpu!();
                    store!(8, self.f[(op!().b & 31) as usize]);
                }
                Code::Beq => branch!(a!() == b!()),
                Code::Bne => branch!(a!() != b!()),
                Code::Blt => branch!((a!() as i64) < b!() as i64),
                Code::Bge => branch!(a!() as i64 >= b!() as i64),
                Code::Bltu => branch!(a!() < b!()),
                Code::Bgeu => branch!(a!() >= b!()),
                Code::BranchFar => {
                    let (a, b) = (a!(), b!());
                    let less = match op!().d & 6 {
                        0 => a == b,
                        4 => (a as i64) < b as i64,
                        _ => a < b,
                    };
                    if less != (op!().d & 1 != 0) {
                        far!(page_va.wrapping_add(imm!()), 1);
                    }
                }
                Code::Jump => near!(op!().imm as u64),
                Code::Jal => {
                    set!(link!());
                    near!(op!().imm as u64);
                }
                Code::JalFar => {
                    set!(link!());
                    far!(page_va.wrapping_add(imm!()), 1);
                }
                Code::Jalr => {
                    let imm = op!().imm;
                    let target = a!().wrapping_add(i64::from(imm >> 16) as u64) & !1;
                    set!(page_va.wrapping_add(u64::from(imm as u16)));
                    if target & !OFFSET == page_va {
                        near!(target & OFFSET);
                    }
                    far!(target, 1);
                }
                Code::Fence => fence(Ordering::SeqCst),
                Code::Atomic => {
                    if let Err(exception) = self.atomic(op!().imm as u32) {
                        stop!(Leave::Stop(exception.into()));
                    }
                    attend!();
                }
                Code::Float => {
                    let raw = op!().imm as u32;
                    if !self.float(raw) {
                        raise!(Cause::Illegal, raw.into());
                    }
                }
                Code::System => stop!(Leave::System(op!().imm as u32)),
                Code::Illegal => raise!(Cause::Illegal, (op!().imm as u32).into()),
                Code::Goto => {
                    left -= since!();
                    place!(op!().imm as u64)
                }
                Code::PageEnd => far!(page_va.wrapping_add(PAGE_SIZE), 0),
                Code::Split => {
                    self.debug.skip = Some(here!()); // it has been looked for above
                    stop!(Leave::Split);
                }
            }
            at = unsafe { at.add(1) };
        };
        self.pc = pc;
        self.retired = self.retired.wrapping_add((limit - left) as u64);
        leave
    }

    /// Index of the micro-op at `offset` of `page`, decoded if need be.
    #[cold]
    #[inline(never)]
    fn locate(&mut self, page: *mut Page, offset: u64) -> usize {
        // SAFETY: `page` is in the cache or the caller's; no other reference to it lives now.
        let page = unsafe { &mut *page };
        let unwatched = page.watched == 0;
        let index = page.index_or_decode(&self.ram, offset);
        if unwatched && page.watched != 0 {
            self.store_tlb.clear();
        }
        index
    }

    /// Write an integer register by its micro-op number.
    #[inline(always)]
    fn write_x(&mut self, d: u8, value: u64) {
        debug_assert!((1..=SINK).contains(&d));
        self.x[usize::from(d)] = value;
    }
}
