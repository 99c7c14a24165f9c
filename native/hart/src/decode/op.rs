//! The micro-op: one decoded instruction in eight bytes.

/// What a micro-op does. `d`, `a`, `b` are the registers in `Op::{d, a, b}`, `i` is `Op::imm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)] // the mnemonics
pub enum Code {
    /// d = i
    Li,
    /// d = address of the page + i
    Auipc,
    Addi,
    Slti,
    Sltiu,
    Xori,
    Ori,
    Andi,
    Slli,
    Srli,
    Srai,
    Addiw,
    Slliw,
    Srliw,
    Sraiw,
    Add,
    Sub,
    Sll,
    Slt,
    Sltu,
    Xor,
    Srl,
    Sra,
    Or,
    And,
    Addw,
    Subw,
    Sllw,
    Srlw,
    Sraw,
    Mul,
    Mulh,
    Mulhsu,
    Mulhu,
    Div,
    Divu,
    Rem,
    Remu,
    Mulw,
    Divw,
    Divuw,
    Remw,
    Remuw,
    Lb,
    Lh,
    Lw,
    Ld,
    Lbu,
    Lhu,
    Lwu,
    Sb,
    Sh,
    Sw,
    Sd,
    Flw,
    Fld,
    Fsw,
    Fsd,
    /// Conditional branches within the page: i is the target's byte offset in the page.
    Beq,
    Bne,
    Blt,
    Bge,
    Bltu,
    Bgeu,
    /// A conditional branch out of the page: d is the condition (funct3), i the target's offset from
    /// the start of the page.
    BranchFar,
    /// Jump within the page, no link: i is the target's byte offset in the page.
    Jump,
    /// d = return address; jump within the page. a and b hold the return address's offset in the page.
    Jal,
    /// As `Jal`, for any target: i is its offset from the start of the page.
    JalFar,
    /// d = return address, jump to a + (i >> 16). The low half of i is the return address's offset.
    Jalr,
    /// FENCE
    Fence,
    /// A extension; i is the instruction.
    Atomic,
    /// F and D, other than loads and stores; i is the instruction.
    Float,
    /// SYSTEM and FENCE.I; i is the instruction (for C.EBREAK: EBREAK).
    System,
    /// Not an instruction; i is what stands there (a 16-bit parcel zero-extended).
    Illegal,
    /// Not an instruction: go on at the decoded micro-op of byte offset i.
    Goto,
    /// Not an instruction: behind the last instruction of the page.
    PageEnd,
    /// The first half of an instruction that ends on the next page.
    Split,
}

/// One decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Op {
    /// What to do.
    pub code: Code,
    /// Destination: 1 to 31, or `SINK` for x0; the number of an FP register for `Flw` and `Fld`.
    pub d: u8,
    /// First source, 0 to 31.
    pub a: u8,
    /// Second source, 0 to 31.
    pub b: u8,
    /// Immediate, sign-extended, or what `Code` says.
    pub imm: i32,
}

/// Where results for x0 go: a register that nothing reads.
pub const SINK: u8 = 32;

impl Op {
    /// A micro-op without registers.
    #[must_use]
    pub const fn bare(code: Code, imm: i32) -> Self {
        Self {
            code,
            d: SINK,
            a: 0,
            b: 0,
            imm,
        }
    }

    /// Whether what stands behind is reached by no fall-through.
    #[must_use]
    pub const fn ends_run(self) -> bool {
        matches!(
            self.code,
            Code::Jump
                | Code::Jal
                | Code::JalFar
                | Code::Jalr
                | Code::System
                | Code::Illegal
                | Code::Goto
                | Code::PageEnd
                | Code::Split
        )
    }
}
