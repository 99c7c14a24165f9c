//! C extension: each 16-bit instruction as the 32-bit instruction that it stands for
//! (RISC-V unprivileged, chapter "C", tables of RVC instructions; RV64).

const LOAD: u32 = 0x03;
const LOAD_FP: u32 = 0x07;
const OP_IMM: u32 = 0x13;
const OP_IMM_32: u32 = 0x1b;
const STORE: u32 = 0x23;
const STORE_FP: u32 = 0x27;
const OP: u32 = 0x33;
const LUI: u32 = 0x37;
const OP_32: u32 = 0x3b;
const BRANCH: u32 = 0x63;
const JALR: u32 = 0x67;
const JAL: u32 = 0x6f;
const EBREAK: u32 = 0x0010_0073;

/// Bits `high..=low` of `c`, moved to start at bit `to`.
const fn field(c: u32, high: u32, low: u32, to: u32) -> u32 {
    ((c >> low) & ((1 << (high - low + 1)) - 1)) << to
}

/// Sign-extend from bit `sign`.
const fn extend(value: u32, sign: u32) -> u32 {
    ((value << (31 - sign)).cast_signed() >> (31 - sign)).cast_unsigned()
}

const fn i_type(opcode: u32, funct3: u32, rd: u32, rs1: u32, imm: u32) -> u32 {
    (imm & 0xfff) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

const fn s_type(opcode: u32, funct3: u32, rs1: u32, rs2: u32, imm: u32) -> u32 {
    (imm >> 5 & 0x7f) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 0x1f) << 7 | opcode
}

const fn r_type(opcode: u32, funct3: u32, funct7: u32, rd: u32, rs1: u32, rs2: u32) -> u32 {
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

const fn b_type(funct3: u32, rs1: u32, rs2: u32, imm: u32) -> u32 {
    (imm >> 12 & 1) << 31
        | (imm >> 5 & 0x3f) << 25
        | rs2 << 20
        | rs1 << 15
        | funct3 << 12
        | (imm >> 1 & 0xf) << 8
        | (imm >> 11 & 1) << 7
        | BRANCH
}

const fn j_type(rd: u32, imm: u32) -> u32 {
    (imm >> 20 & 1) << 31
        | (imm >> 1 & 0x3ff) << 21
        | (imm >> 11 & 1) << 20
        | (imm >> 12 & 0xff) << 12
        | rd << 7
        | JAL
}

/// The 32-bit instruction that `parcel` stands for; `None` if it is illegal or reserved. Hints expand
/// to an instruction without effect.
#[must_use]
pub const fn expand(parcel: u16) -> Option<u32> {
    let c = parcel as u32;
    match c & 3 {
        0 => quadrant_0(c),
        1 => quadrant_1(c),
        2 => quadrant_2(c),
        _ => None,
    }
}

const fn quadrant_0(c: u32) -> Option<u32> {
    let rd = field(c, 4, 2, 0) + 8;
    let rs1 = field(c, 9, 7, 0) + 8;
    let word = field(c, 5, 5, 6) | field(c, 12, 10, 3) | field(c, 6, 6, 2);
    let double = field(c, 6, 5, 6) | field(c, 12, 10, 3);
    Some(match c >> 13 {
        0 => {
            let imm =
                field(c, 10, 7, 6) | field(c, 12, 11, 4) | field(c, 5, 5, 3) | field(c, 6, 6, 2);
            if imm == 0 {
                return None; // the illegal instruction 0 and reserved forms of C.ADDI4SPN
            }
            i_type(OP_IMM, 0, rd, 2, imm)
        }
        1 => i_type(LOAD_FP, 3, rd, rs1, double),
        2 => i_type(LOAD, 2, rd, rs1, word),
        3 => i_type(LOAD, 3, rd, rs1, double),
        5 => s_type(STORE_FP, 3, rs1, rd, double),
        6 => s_type(STORE, 2, rs1, rd, word),
        7 => s_type(STORE, 3, rs1, rd, double),
        _ => return None,
    })
}

const fn quadrant_1(c: u32) -> Option<u32> {
    let rd = field(c, 11, 7, 0);
    let imm = extend(field(c, 12, 12, 5) | field(c, 6, 2, 0), 5);
    Some(match c >> 13 {
        0 => i_type(OP_IMM, 0, rd, rd, imm),
        1 if rd == 0 => return None,
        1 => i_type(OP_IMM_32, 0, rd, rd, imm),
        2 => i_type(OP_IMM, 0, rd, 0, imm),
        3 if imm == 0 => return None,
        3 if rd == 2 => {
            let imm = field(c, 12, 12, 9)
                | field(c, 4, 3, 7)
                | field(c, 5, 5, 6)
                | field(c, 2, 2, 5)
                | field(c, 6, 6, 4);
            i_type(OP_IMM, 0, 2, 2, extend(imm, 9))
        }
        3 => imm << 12 | rd << 7 | LUI,
        4 => return arithmetic(c),
        5 => j_type(0, jump_offset(c)),
        branch => {
            let offset = field(c, 12, 12, 8)
                | field(c, 6, 5, 6)
                | field(c, 2, 2, 5)
                | field(c, 11, 10, 3)
                | field(c, 4, 3, 1);
            b_type(branch - 6, field(c, 9, 7, 0) + 8, 0, extend(offset, 8))
        }
    })
}

const fn jump_offset(c: u32) -> u32 {
    let offset = field(c, 12, 12, 11)
        | field(c, 8, 8, 10)
        | field(c, 10, 9, 8)
        | field(c, 6, 6, 7)
        | field(c, 7, 7, 6)
        | field(c, 2, 2, 5)
        | field(c, 11, 11, 4)
        | field(c, 5, 3, 1);
    extend(offset, 11)
}

/// C.SRLI, C.SRAI, C.ANDI and the register forms of quadrant 1, funct3 4.
const fn arithmetic(c: u32) -> Option<u32> {
    let rd = field(c, 9, 7, 0) + 8;
    let rs2 = field(c, 4, 2, 0) + 8;
    let shift = field(c, 12, 12, 5) | field(c, 6, 2, 0);
    Some(match field(c, 11, 10, 0) {
        0 => i_type(OP_IMM, 5, rd, rd, shift),
        1 => i_type(OP_IMM, 5, rd, rd, shift | 0x400),
        2 => i_type(OP_IMM, 7, rd, rd, extend(shift, 5)),
        _ => match field(c, 12, 12, 2) | field(c, 6, 5, 0) {
            0 => r_type(OP, 0, 0x20, rd, rd, rs2),
            1 => r_type(OP, 4, 0, rd, rd, rs2),
            2 => r_type(OP, 6, 0, rd, rd, rs2),
            3 => r_type(OP, 7, 0, rd, rd, rs2),
            4 => r_type(OP_32, 0, 0x20, rd, rd, rs2),
            5 => r_type(OP_32, 0, 0, rd, rd, rs2),
            _ => return None,
        },
    })
}

const fn quadrant_2(c: u32) -> Option<u32> {
    let rd = field(c, 11, 7, 0);
    let rs2 = field(c, 6, 2, 0);
    let load_word = field(c, 3, 2, 6) | field(c, 12, 12, 5) | field(c, 6, 4, 2);
    let load_double = field(c, 4, 2, 6) | field(c, 12, 12, 5) | field(c, 6, 5, 3);
    let store_word = field(c, 8, 7, 6) | field(c, 12, 9, 2);
    let store_double = field(c, 9, 7, 6) | field(c, 12, 10, 3);
    Some(match c >> 13 {
        0 => i_type(OP_IMM, 1, rd, rd, field(c, 12, 12, 5) | rs2),
        1 => i_type(LOAD_FP, 3, rd, 2, load_double),
        2 | 3 if rd == 0 => return None,
        2 => i_type(LOAD, 2, rd, 2, load_word),
        3 => i_type(LOAD, 3, rd, 2, load_double),
        4 => match (field(c, 12, 12, 0), rd, rs2) {
            (0, 0, 0) => return None,
            (link, _, 0) if rd != 0 => i_type(JALR, 0, link, rd, 0),
            (1, 0, 0) => EBREAK,
            (0, _, _) => r_type(OP, 0, 0, rd, 0, rs2),
            _ => r_type(OP, 0, 0, rd, rd, rs2),
        },
        5 => s_type(STORE_FP, 3, 2, rs2, store_double),
        6 => s_type(STORE, 2, 2, rs2, store_word),
        _ => s_type(STORE, 3, 2, rs2, store_double),
    })
}
