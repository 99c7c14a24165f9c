//! Which encodings of the F and D extensions are instructions. The rounding mode is not looked at:
//! whether it is legal depends on `frm`, and the executor decides it.

use super::fields::{bits, funct3, funct7, opcode, rs2};

/// Whether `raw`, of major opcode MADD, MSUB, NMSUB, NMADD or OP-FP, is an instruction of F or D.
pub fn is_legal(raw: u32) -> bool {
    let format = bits(raw, 26, 25);
    if format > 1 {
        return false; // half and quad precision
    }
    if opcode(raw) != 0x53 {
        return true;
    }
    let (rs2, rm) = (rs2(raw), funct3(raw));
    match funct7(raw) >> 2 {
        0x00..=0x03 => true,                  // FADD FSUB FMUL FDIV
        0x05 => rm <= 1,                      // FMIN FMAX
        0x08 => u32::from(rs2) == 1 - format, // FCVT.S.D FCVT.D.S
        0x0b => rs2 == 0,                     // FSQRT
        0x04 | 0x14 => rm <= 2,               // FSGNJ; FLE FLT FEQ
        0x18 | 0x1a => rs2 <= 3,              // FCVT to and from integers
        0x1c => rs2 == 0 && rm <= 1,          // FMV.X FCLASS
        0x1e => rs2 == 0 && rm == 0,          // FMV from integer registers
        _ => false,
    }
}
