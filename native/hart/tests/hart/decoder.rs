//! The decoder, against encodings that binutils 2.40 made.

use virtmesh_hart::decode::{Code, Op, SINK, decode};

use crate::asm::{amo, csrrw, i_type, jal, jalr, r_type};

/// Where the instructions stand in their page.
const OFFSET: u16 = 0x800;

/// Word, code, destination, first and second source (`None`: not looked at), immediate.
type Row = (u32, Code, Option<u8>, u8, Option<u8>, i32);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    (0xfff3_0283, Code::Lb, Some(5), 6, None, -1), // lb t0,-1(t1)
    (0x7ff3_1283, Code::Lh, Some(5), 6, None, 2047), // lh t0,2047(t1)
    (0x8003_2283, Code::Lw, Some(5), 6, None, -2048), // lw t0,-2048(t1)
    (0x0083_3283, Code::Ld, Some(5), 6, None, 8), // ld t0,8(t1)
    (0x0013_4283, Code::Lbu, Some(5), 6, None, 1), // lbu t0,1(t1)
    (0x0023_5283, Code::Lhu, Some(5), 6, None, 2), // lhu t0,2(t1)
    (0x0043_6283, Code::Lwu, Some(5), 6, None, 4), // lwu t0,4(t1)
    (0x0043_2087, Code::Flw, Some(1), 6, None, 4), // flw ft1,4(t1)
    (0xff83_3107, Code::Fld, Some(2), 6, None, -8), // fld ft2,-8(t1)
    (0xfff3_0293, Code::Addi, Some(5), 6, None, -1), // addi t0,t1,-1
    (0xffe3_2293, Code::Slti, Some(5), 6, None, -2), // slti t0,t1,-2
    (0x0053_3293, Code::Sltiu, Some(5), 6, None, 5), // sltiu t0,t1,5
    (0xfff3_4293, Code::Xori, Some(5), 6, None, -1), // xori t0,t1,-1
    (0x0073_6293, Code::Ori, Some(5), 6, None, 7), // ori t0,t1,7
    (0x0ff3_7293, Code::Andi, Some(5), 6, None, 255), // andi t0,t1,255
    (0x03f3_1293, Code::Slli, Some(5), 6, None, 63), // slli t0,t1,63
    (0x0213_5293, Code::Srli, Some(5), 6, None, 33), // srli t0,t1,33
    (0x4013_5293, Code::Srai, Some(5), 6, None, 1), // srai t0,t1,1
    (0xfff3_029b, Code::Addiw, Some(5), 6, None, -1), // addiw t0,t1,-1
    (0x01f3_129b, Code::Slliw, Some(5), 6, None, 31), // slliw t0,t1,31
    (0x0073_529b, Code::Srliw, Some(5), 6, None, 7), // srliw t0,t1,7
    (0x41f3_529b, Code::Sraiw, Some(5), 6, None, 31), // sraiw t0,t1,31
    (0xfe73_0fa3, Code::Sb, None, 6, Some(7), -1), // sb t2,-1(t1)
    (0x7e73_1fa3, Code::Sh, None, 6, Some(7), 2047), // sh t2,2047(t1)
    (0x8073_2023, Code::Sw, None, 6, Some(7), -2048), // sw t2,-2048(t1)
    (0x0073_3423, Code::Sd, None, 6, Some(7), 8), // sd t2,8(t1)
    (0x0033_2227, Code::Fsw, None, 6, Some(3), 4), // fsw ft3,4(t1)
    (0xfe43_3c27, Code::Fsd, None, 6, Some(4), -8), // fsd ft4,-8(t1)
    (0x0073_02b3, Code::Add, Some(5), 6, Some(7), 0), // add t0,t1,t2
    (0x4073_02b3, Code::Sub, Some(5), 6, Some(7), 0), // sub t0,t1,t2
    (0x0073_12b3, Code::Sll, Some(5), 6, Some(7), 0), // sll t0,t1,t2
    (0x0073_22b3, Code::Slt, Some(5), 6, Some(7), 0), // slt t0,t1,t2
    (0x0073_32b3, Code::Sltu, Some(5), 6, Some(7), 0), // sltu t0,t1,t2
    (0x0073_42b3, Code::Xor, Some(5), 6, Some(7), 0), // xor t0,t1,t2
    (0x0073_52b3, Code::Srl, Some(5), 6, Some(7), 0), // srl t0,t1,t2
    (0x4073_52b3, Code::Sra, Some(5), 6, Some(7), 0), // sra t0,t1,t2
    (0x0073_62b3, Code::Or, Some(5), 6, Some(7), 0), // or t0,t1,t2
    (0x0073_72b3, Code::And, Some(5), 6, Some(7), 0), // and t0,t1,t2
    (0x0073_02bb, Code::Addw, Some(5), 6, Some(7), 0), // addw t0,t1,t2
    (0x4073_02bb, Code::Subw, Some(5), 6, Some(7), 0), // subw t0,t1,t2
    (0x0073_12bb, Code::Sllw, Some(5), 6, Some(7), 0), // sllw t0,t1,t2
    (0x0073_52bb, Code::Srlw, Some(5), 6, Some(7), 0), // srlw t0,t1,t2
    (0x4073_52bb, Code::Sraw, Some(5), 6, Some(7), 0), // sraw t0,t1,t2
    (0x0273_02b3, Code::Mul, Some(5), 6, Some(7), 0), // mul t0,t1,t2
    (0x0273_12b3, Code::Mulh, Some(5), 6, Some(7), 0), // mulh t0,t1,t2
    (0x0273_22b3, Code::Mulhsu, Some(5), 6, Some(7), 0), // mulhsu t0,t1,t2
    (0x0273_32b3, Code::Mulhu, Some(5), 6, Some(7), 0), // mulhu t0,t1,t2
    (0x0273_42b3, Code::Div, Some(5), 6, Some(7), 0), // div t0,t1,t2
    (0x0273_52b3, Code::Divu, Some(5), 6, Some(7), 0), // divu t0,t1,t2
    (0x0273_62b3, Code::Rem, Some(5), 6, Some(7), 0), // rem t0,t1,t2
    (0x0273_72b3, Code::Remu, Some(5), 6, Some(7), 0), // remu t0,t1,t2
    (0x0273_02bb, Code::Mulw, Some(5), 6, Some(7), 0), // mulw t0,t1,t2
    (0x0273_42bb, Code::Divw, Some(5), 6, Some(7), 0), // divw t0,t1,t2
    (0x0273_52bb, Code::Divuw, Some(5), 6, Some(7), 0), // divuw t0,t1,t2
    (0x0273_62bb, Code::Remw, Some(5), 6, Some(7), 0), // remw t0,t1,t2
    (0x0273_72bb, Code::Remuw, Some(5), 6, Some(7), 0), // remuw t0,t1,t2
    (0x0073_0863, Code::Beq, None, 6, Some(7), 2064), // beq t1,t2,.+16
    (0xfe73_18e3, Code::Bne, None, 6, Some(7), 2032), // bne t1,t2,.-16
    (0x0473_4063, Code::Blt, None, 6, Some(7), 2112), // blt t1,t2,.+64
    (0xfc73_50e3, Code::Bge, None, 6, Some(7), 1984), // bge t1,t2,.-64
    (0x0873_6063, Code::Bltu, None, 6, Some(7), 2176), // bltu t1,t2,.+128
    (0x1073_7063, Code::Bgeu, None, 6, Some(7), 2304), // bgeu t1,t2,.+256
];

#[test]
fn instructions_decode_to_their_fields() {
    for &(word, code, d, a, b, imm) in ROWS {
        let op = decode(word, 4, OFFSET);
        assert_eq!((op.code, op.a, op.imm), (code, a, imm), "{word:#010x}");
        assert!(d.is_none_or(|d| d == op.d), "{word:#010x}: d {}", op.d);
        assert!(b.is_none_or(|b| b == op.b), "{word:#010x}: b {}", op.b);
    }
}

#[test]
fn results_for_x0_go_to_the_sink() {
    for word in [
        0x0000_0013,
        0x0000_3003,
        0x0062_8033,
        0x0000_0017,
        0x0000_0037,
    ] {
        assert_eq!(decode(word, 4, 0).d, SINK, "{word:#010x}");
    }
    assert_eq!(decode(0x0003_3007, 4, 0).d, 0, "f0 is a register");
}

#[test]
fn upper_immediates_count_from_the_page() {
    assert_eq!(
        decode(0x1234_52b7, 4, 0xffc),
        Op {
            code: Code::Li,
            d: 5,
            ..decode(0x1234_52b7, 4, 0)
        }
    );
    let auipc = decode(0x7fff_f297, 4, 0xffc);
    assert_eq!((auipc.code, auipc.imm), (Code::Auipc, 0x7fff_fffc));
}

#[test]
fn jumps_know_whether_they_stay_in_the_page() {
    let at = |word, offset| decode(word, 4, offset);
    assert_eq!(at(jal(0, 16), 0).code, Code::Jump);
    assert_eq!(at(jal(1, 16), 0).code, Code::Jal);
    assert_eq!(at(jal(1, -2), 0).code, Code::JalFar);
    assert_eq!(at(jal(0, 4), 0xffc).code, Code::JalFar);
    assert_eq!(at(jal(0, -0x10_0000), 8).imm, 8 - 0x10_0000);
    let call = at(jal(1, 16), 0x7fc);
    assert_eq!(
        u16::from_le_bytes([call.a, call.b]),
        0x800,
        "return address"
    );
    let short = decode(0xa001, 2, 0x7fe); // C.J 0
    assert_eq!((short.code, short.imm), (Code::Jump, 0x7fe));
    let indirect = at(jalr(1, 5, -4), 0x10);
    assert_eq!(
        (indirect.code, indirect.imm >> 16, indirect.imm & 0xffff),
        (Code::Jalr, -4, 0x14)
    );
    let branch = at(0xfe73_08e3, 0); // beq x6, x7, -16
    assert_eq!(
        (branch.code, branch.d, branch.imm),
        (Code::BranchFar, 0, -16)
    );
}

#[test]
fn reserved_encodings_are_illegal() {
    for word in [
        0x0000_0000,
        0xffff_ffff,
        i_type(0x03, 7, 5, 6, 0),     // load, funct3 7
        i_type(0x23, 4, 5, 6, 0),     // store, funct3 4
        i_type(0x13, 1, 5, 6, 0x040), // SLLI with bit 26
        i_type(0x13, 5, 5, 6, 0x200), // SRLI with bit 29
        i_type(0x1b, 1, 5, 6, 0x020), // SLLIW by 32
        i_type(0x1b, 2, 5, 6, 0),
        i_type(0x63, 2, 5, 6, 0), // branch, funct3 2
        i_type(0x67, 1, 5, 6, 0), // JALR, funct3 1
        i_type(0x0f, 2, 0, 0, 0), // CBO, absent
        r_type(0x33, 0, 2, 5, 6, 7),
        r_type(0x33, 1, 0x20, 5, 6, 7),
        r_type(0x3b, 1, 1, 5, 6, 7), // MULHW does not exist
        amo(0x05, 2, 5, 6, 7),       // Zacas, absent
        amo(0x02, 2, 5, 6, 7),       // LR with rs2
        amo(0x00, 1, 5, 6, 7),       // Zabha, absent
        csrrw(5, 0x300, 6) & !0x7000 | 4 << 12,
        0x0020_0073,                    // URET
        0x1020_00f3,                    // SRET with rd
        r_type(0x53, 0, 0x02, 5, 6, 7), // half precision
        r_type(0x53, 3, 0x10, 5, 6, 7), // FSGNJ, funct3 3
        r_type(0x53, 0, 0x2c, 5, 6, 1), // FSQRT with rs2
        r_type(0x53, 0, 0x20, 5, 6, 0), // FCVT.S.S
        r_type(0x53, 0, 0x60, 5, 6, 4), // FCVT.W.S with rs2 4
        r_type(0x53, 0, 0x79, 5, 6, 1), // FMV.D.X with rs2
        r_type(0x07, 0, 0, 5, 6, 0),    // FP load, funct3 0
        0x0000_001f,                    // 48-bit formats
        0x0000_003f,                    // 64-bit formats
    ] {
        assert_eq!(
            decode(word, 4, 0),
            Op::bare(Code::Illegal, word.cast_signed()),
            "{word:#010x}"
        );
    }
}

#[test]
fn fences_of_any_kind_decode() {
    for word in [0x0ff0_000f, 0x8330_000f, 0x0100_000f, 0x0000_000f] {
        assert_eq!(decode(word, 4, 0).code, Code::Fence, "{word:#010x}");
    }
    assert_eq!(decode(0x0000_100f, 4, 0).code, Code::System);
}
