//! Decoding: instruction parcels to micro-ops.

pub mod compressed;
pub(crate) mod fields;
mod float;
pub mod op;

use fields::{bits, funct3, funct7, imm_b, imm_i, imm_j, imm_s, imm_u, opcode, rd, rs1, rs2};
pub use op::{Code, Op, SINK};

/// Bytes of the instruction that starts with `parcel`. Longer formats than 32 bits are illegal here.
#[must_use]
pub const fn length(parcel: u16) -> u64 {
    if parcel & 3 == 3 { 4 } else { 2 }
}

/// Decode the instruction `raw` of `length` bytes (2 or 4), which stands at byte `offset` of its page.
#[must_use]
pub fn decode(raw: u32, length: u64, offset: u16) -> Op {
    let illegal = Op::bare(Code::Illegal, raw.cast_signed());
    if length == 4 {
        return decode_32(raw, offset, offset + 4).unwrap_or(illegal);
    }
    #[allow(clippy::cast_possible_truncation)] // a parcel
    compressed::expand(raw as u16)
        .and_then(|raw| decode_32(raw, offset, offset + 2))
        .unwrap_or(illegal)
}

/// `next` is the offset behind the instruction: 2 or 4 more than `offset`.
fn decode_32(raw: u32, offset: u16, next: u16) -> Option<Op> {
    let offset = i32::from(offset);
    let sink = |d| if d == 0 { SINK } else { d };
    let op = |code, imm| Op {
        code,
        d: sink(rd(raw)),
        a: rs1(raw),
        b: rs2(raw),
        imm,
    };
    let raw_op = |code| Op::bare(code, raw.cast_signed());
    Some(match opcode(raw) {
        0x03 => op(load(raw)?, imm_i(raw)),
        0x07 => Op {
            d: rd(raw),
            ..op(
                match funct3(raw) {
                    2 => Code::Flw,
                    3 => Code::Fld,
                    _ => return None,
                },
                imm_i(raw),
            )
        },
        0x0f => match funct3(raw) {
            0 => Op::bare(Code::Fence, 0),
            1 => raw_op(Code::System),
            _ => return None,
        },
        0x13 => op_imm(op(Code::Addi, imm_i(raw)), raw)?,
        // The offset has at most 12 bits and U immediates end in 12 zeros: the sum fits.
        0x17 => op(Code::Auipc, imm_u(raw) + offset),
        0x1b => op_imm_32(op(Code::Addiw, imm_i(raw)), raw)?,
        0x23 => op(
            match funct3(raw) {
                0 => Code::Sb,
                1 => Code::Sh,
                2 => Code::Sw,
                3 => Code::Sd,
                _ => return None,
            },
            imm_s(raw),
        ),
        0x27 => op(
            match funct3(raw) {
                2 => Code::Fsw,
                3 => Code::Fsd,
                _ => return None,
            },
            imm_s(raw),
        ),
        0x2f if atomic_is_legal(raw) => raw_op(Code::Atomic),
        0x33 => op(register(raw)?, 0),
        0x37 => op(Code::Li, imm_u(raw)),
        0x3b => op(register_32(raw)?, 0),
        0x43 | 0x47 | 0x4b | 0x4f | 0x53 if float::is_legal(raw) => raw_op(Code::Float),
        0x63 => branch(op(Code::Beq, offset + imm_b(raw)), raw)?,
        0x67 if funct3(raw) == 0 => op(Code::Jalr, imm_i(raw) << 16 | i32::from(next)),
        0x6f => jump(op(Code::Jal, offset + imm_j(raw)), next),
        0x73 if system_is_legal(raw) => raw_op(Code::System),
        _ => return None,
    })
}

fn load(raw: u32) -> Option<Code> {
    Some(match funct3(raw) {
        0 => Code::Lb,
        1 => Code::Lh,
        2 => Code::Lw,
        3 => Code::Ld,
        4 => Code::Lbu,
        5 => Code::Lhu,
        6 => Code::Lwu,
        _ => return None,
    })
}

fn op_imm(op: Op, raw: u32) -> Option<Op> {
    let shift = imm_i(raw) & 0x3f;
    let (code, imm) = match (funct3(raw), bits(raw, 31, 26)) {
        (0, _) if rs1(raw) == 0 => (Code::Li, op.imm),
        (0, _) => (Code::Addi, op.imm),
        (1, 0) => (Code::Slli, shift),
        (2, _) => (Code::Slti, op.imm),
        (3, _) => (Code::Sltiu, op.imm),
        (4, _) => (Code::Xori, op.imm),
        (5, 0) => (Code::Srli, shift),
        (5, 0x10) => (Code::Srai, shift),
        (6, _) => (Code::Ori, op.imm),
        (7, _) => (Code::Andi, op.imm),
        _ => return None,
    };
    Some(Op { code, imm, ..op })
}

fn op_imm_32(op: Op, raw: u32) -> Option<Op> {
    let shift = imm_i(raw) & 0x1f;
    let (code, imm) = match (funct3(raw), funct7(raw)) {
        (0, _) => (Code::Addiw, op.imm),
        (1, 0) => (Code::Slliw, shift),
        (5, 0) => (Code::Srliw, shift),
        (5, 0x20) => (Code::Sraiw, shift),
        _ => return None,
    };
    Some(Op { code, imm, ..op })
}

fn register(raw: u32) -> Option<Code> {
    Some(match (funct7(raw), funct3(raw)) {
        (0, 0) => Code::Add,
        (0, 1) => Code::Sll,
        (0, 2) => Code::Slt,
        (0, 3) => Code::Sltu,
        (0, 4) => Code::Xor,
        (0, 5) => Code::Srl,
        (0, 6) => Code::Or,
        (0, 7) => Code::And,
        (0x20, 0) => Code::Sub,
        (0x20, 5) => Code::Sra,
        (1, 0) => Code::Mul,
        (1, 1) => Code::Mulh,
        (1, 2) => Code::Mulhsu,
        (1, 3) => Code::Mulhu,
        (1, 4) => Code::Div,
        (1, 5) => Code::Divu,
        (1, 6) => Code::Rem,
        (1, 7) => Code::Remu,
        _ => return None,
    })
}

fn register_32(raw: u32) -> Option<Code> {
    Some(match (funct7(raw), funct3(raw)) {
        (0, 0) => Code::Addw,
        (0, 1) => Code::Sllw,
        (0, 5) => Code::Srlw,
        (0x20, 0) => Code::Subw,
        (0x20, 5) => Code::Sraw,
        (1, 0) => Code::Mulw,
        (1, 4) => Code::Divw,
        (1, 5) => Code::Divuw,
        (1, 6) => Code::Remw,
        (1, 7) => Code::Remuw,
        _ => return None,
    })
}

/// Whether `target`, a byte offset from the start of the page, is in the page.
fn is_near(target: i32) -> bool {
    (0..4096).contains(&target)
}

#[allow(clippy::cast_possible_truncation)] // three bits
fn branch(op: Op, raw: u32) -> Option<Op> {
    let code = match funct3(raw) {
        0 => Code::Beq,
        1 => Code::Bne,
        4 => Code::Blt,
        5 => Code::Bge,
        6 => Code::Bltu,
        7 => Code::Bgeu,
        _ => return None,
    };
    Some(if is_near(op.imm) {
        Op {
            code,
            d: SINK,
            ..op
        }
    } else {
        Op {
            code: Code::BranchFar,
            d: funct3(raw) as u8,
            ..op
        }
    })
}

fn jump(op: Op, next: u16) -> Op {
    let [a, b] = next.to_le_bytes();
    Op {
        code: match (is_near(op.imm), op.d) {
            (true, SINK) => Code::Jump,
            (true, _) => Code::Jal,
            (false, _) => Code::JalFar,
        },
        a,
        b,
        ..op
    }
}

/// Whether `raw` is an instruction of the A extension.
fn atomic_is_legal(raw: u32) -> bool {
    matches!(funct3(raw), 2 | 3)
        && match funct7(raw) >> 2 {
            0x02 => rs2(raw) == 0, // LR
            0x00 | 0x01 | 0x03 | 0x04 | 0x08 | 0x0c | 0x10 | 0x14 | 0x18 | 0x1c => true,
            _ => false,
        }
}

/// Whether `raw` may be an instruction of SYSTEM: privileged forms have their exact encoding, CSR
/// instructions any number.
fn system_is_legal(raw: u32) -> bool {
    match funct3(raw) {
        0 => {
            matches!(
                raw,
                0x0000_0073 | 0x0010_0073 | 0x1020_0073 | 0x3020_0073 | 0x1050_0073
            ) || (funct7(raw) == 0x09 && rd(raw) == 0)
        }
        4 => false,
        _ => true,
    }
}
