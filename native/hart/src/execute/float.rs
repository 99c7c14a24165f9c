//! The F and D extensions, on the arithmetic of [`fp`](crate::fp).
#![allow(clippy::inline_always)] // on the path of every instruction

use crate::csr::status::{self, FS_DIRTY};
use crate::decode::fields::{bits, funct3, funct7, opcode, rd, rs1, rs2, rs3};
use crate::execute::integer::word;
use crate::fp::{self, Flags, Format, Rounding};
use crate::hart::Hart;

/// The upper half of a single in a 64-bit register.
const BOX: u64 = 0xffff_ffff_0000_0000;
const NAN_SINGLE: u64 = 0x7fc0_0000;
/// `rm`: the rounding mode is in `frm`.
const DYNAMIC: u32 = 7;
const OP_FP: u32 = 0x53;

/// Where a result goes.
enum Result {
    Float(u64),
    Integer(u64),
}

impl Hart {
    /// Execute `raw`, which `decode` found to be of F or D. False if it is illegal now: FS is Off, or the
    /// rounding mode is reserved.
    pub(crate) fn float(&mut self, raw: u32) -> bool {
        if self.csrs.mstatus & status::FS == 0 {
            return false;
        }
        let format = if bits(raw, 26, 25) == 0 {
            Format::S
        } else {
            Format::D
        };
        let computed = if opcode(raw) == OP_FP {
            self.operate(raw, format)
        } else {
            self.fused(raw, format)
        };
        let Some((result, flags)) = computed else {
            return false;
        };
        match result {
            Result::Float(value) if format == Format::S => self.write_f_single(rd(raw), value),
            Result::Float(value) => self.write_f(rd(raw), value),
            Result::Integer(value) => self.set_x(usize::from(rd(raw)), value),
        }
        if flags != 0 {
            self.csrs.fflags |= u64::from(flags);
            self.csrs.mstatus |= FS_DIRTY;
        }
        true
    }

    /// Write a floating-point register.
    #[inline(always)]
    pub(crate) fn write_f(&mut self, d: u8, value: u64) {
        self.f[usize::from(d & 31)] = value;
        self.csrs.mstatus |= FS_DIRTY;
    }

    /// Write a single, NaN-boxed.
    #[inline(always)]
    pub(crate) fn write_f_single(&mut self, d: u8, value: u64) {
        self.write_f(d, value | BOX);
    }

    /// Register `index` as an operand: a single that is not boxed is the canonical NaN.
    fn operand(&self, format: Format, index: u8) -> u64 {
        let value = self.f[usize::from(index)];
        match format {
            Format::D => value,
            Format::S if value & BOX == BOX => value & !BOX,
            Format::S => NAN_SINGLE,
        }
    }

    /// The rounding mode of `raw`; `None` if it is reserved.
    #[allow(clippy::cast_possible_truncation)] // three bits
    fn rounding(&self, raw: u32) -> Option<Rounding> {
        Rounding::decode(match funct3(raw) {
            DYNAMIC => self.csrs.frm as u8,
            rm => rm as u8,
        })
    }

    /// FMADD, FMSUB, FNMSUB, FNMADD.
    fn fused(&self, raw: u32, format: Format) -> Option<(Result, Flags)> {
        let rm = self.rounding(raw)?;
        let operand = |index| self.operand(format, index);
        let (a, b, c) = (operand(rs1(raw)), operand(rs2(raw)), operand(rs3(raw)));
        let (negate_product, negate_addend) = match opcode(raw) {
            0x43 => (false, false),
            0x47 => (false, true),
            0x4b => (true, false),
            _ => (true, true),
        };
        let (value, flags) = fp::fma(format, a, b, c, negate_product, negate_addend, rm);
        Some((Result::Float(value), flags))
    }

    fn operate(&self, raw: u32, format: Format) -> Option<(Result, Flags)> {
        let operand = |index| self.operand(format, index);
        let (a, b) = (operand(rs1(raw)), operand(rs2(raw)));
        let integer = self.x[usize::from(rs1(raw))];
        let float = |(value, flags)| Some((Result::Float(value), flags));
        let truth = |(value, flags)| Some((Result::Integer(u64::from(value)), flags));
        // FCVT: rs2 holds the integer's width and sign.
        let (width, signed) = (if rs2(raw) < 2 { 32 } else { 64 }, rs2(raw) & 1 == 0);
        match (funct7(raw) >> 2, funct3(raw)) {
            (0x00, _) => float(fp::add(format, a, b, self.rounding(raw)?)),
            (0x01, _) => float(fp::sub(format, a, b, self.rounding(raw)?)),
            (0x02, _) => float(fp::mul(format, a, b, self.rounding(raw)?)),
            (0x03, _) => float(fp::div(format, a, b, self.rounding(raw)?)),
            (0x04, form) => float((inject_sign(format, a, b, form), 0)),
            (0x05, 0) => float(fp::min(format, a, b)),
            (0x05, _) => float(fp::max(format, a, b)),
            (0x08, _) => {
                let from = if rs2(raw) == 0 { Format::S } else { Format::D };
                let a = self.operand(from, rs1(raw));
                float(fp::convert(from, format, a, self.rounding(raw)?))
            }
            (0x0b, _) => float(fp::sqrt(format, a, self.rounding(raw)?)),
            (0x14, 0) => truth(fp::le(format, a, b)),
            (0x14, 1) => truth(fp::lt(format, a, b)),
            (0x14, _) => truth(fp::eq(format, a, b)),
            (0x18, _) => {
                let (value, flags) = fp::to_int(format, a, self.rounding(raw)?, signed, width);
                Some((Result::Integer(value), flags))
            }
            (0x1a, _) => float(fp::from_int(
                format,
                integer,
                signed,
                width,
                self.rounding(raw)?,
            )),
            (0x1c, 0) => {
                // FMV.X.W and FMV.X.D take the register as it is.
                let value = self.f[usize::from(rs1(raw))];
                let value = if format == Format::S {
                    word(value)
                } else {
                    value
                };
                Some((Result::Integer(value), 0))
            }
            (0x1c, _) => Some((Result::Integer(fp::classify(format, a)), 0)),
            _ => float((integer, 0)), // FMV.W.X, FMV.D.X
        }
    }
}

/// FSGNJ, FSGNJN, FSGNJX.
fn inject_sign(format: Format, a: u64, b: u64, form: u32) -> u64 {
    let sign = match format {
        Format::S => 1 << 31,
        Format::D => 1 << 63,
    };
    let new = match form {
        0 => b,
        1 => !b,
        _ => a ^ b,
    };
    (a & !sign) | (new & sign)
}
