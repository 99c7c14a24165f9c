"""Random instruction words, and what binutils' disassembler says of them.

objdump is an independent decoder, but not a strict one: where it shows a reserved encoding as an
instruction, or knows less than the specification, `verdict` says so with the clause.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.support.isa.families import IMMEDIATE_OPS, REGISTER_OPS, Family, names
from tests.support.isa.registers import Registers
from tests.support.isa.toolchain import disassemble

MISC_MEM, AMO, OP_FP, SYSTEM = 0x0F, 0x2F, 0x53, 0x73
FUSED = (0x43, 0x47, 0x4B, 0x4F)
OPCODES = (
    *(0x03, 0x07, MISC_MEM, 0x13, 0x17, 0x1B, 0x23, 0x27, AMO, 0x33, 0x37, 0x3B),
    *(*FUSED, OP_FP, 0x63, 0x67, 0x6F, SYSTEM),
)
FUNCT7 = (0x00, 0x01, 0x20)
OP_FP_FUNCT5 = (*range(6), 0x08, 0x0B, 0x14, 0x18, 0x1A, 0x1C, 0x1E)
FUNCT12 = (0x000, 0x001, 0x002, 0x102, 0x105, 0x120, 0x202, 0x302, 0x7B2)
CSRS = (0x001, 0x002, 0x003, 0x340)
"""fflags, frm, fcsr, mscratch."""
EXACT = ((0x21, 0), (0x69, 0), (0x69, 1))
"""Function and rs2 of FCVT.D.S, FCVT.D.W, FCVT.D.WU: they have a mode, which has no effect."""
REPLACED_RETURNS = ("uret", "hret", "dret", "mnret")
"""Returns of extensions that are not there, which objdump shows regardless."""
REGISTERS_ONLY = {
    *REGISTER_OPS,
    *IMMEDIATE_OPS,
    *names("slli srli srai slliw srliw sraiw lui auipc"),
    *names("c.addi c.addiw c.li c.lui c.addi16sp c.addi4spn c.slli c.srli c.srai c.andi"),
    *names("c.sub c.xor c.or c.and c.subw c.addw c.mv c.add c.slli64 c.srli64 c.srai64"),
}
"""What writes its first operand, and has no other effect than flags."""
FLOAT_ONLY = names(
    "fadd fsub fmul fdiv fsqrt fmadd fmsub fnmadd fnmsub fmin fmax fsgnj fsgnjn fsgnjx "
    "feq flt fle fclass fcvt fmv"
)


def random_words(rng: Random, count: int) -> list[int]:
    """Return words of 32 bits, most of them near instructions."""
    return [random_word(rng) for _ in range(count)]


def random_word(rng: Random) -> int:
    """Return a word of 32 bits whose opcode, and often whose function, exists."""
    word = rng.getrandbits(32)
    opcode = rng.choice((*OPCODES, rng.randrange(28) << 2 | 3))
    if opcode & 0x1F == 0x1F:  # the begin of a longer instruction
        opcode ^= 0x04
    word = word & ~0x7F | opcode
    if rng.random() < 0.2:
        return word
    if opcode == OP_FP:
        function = rng.choice((*OP_FP_FUNCT5, rng.getrandbits(5)))
        word = field(word, 25, 7, function << 2 | rng.choice((0, 0, 1, 1, 0, 1, 2, 3)))
        word = field(word, 20, 5, rng.choice((rng.getrandbits(5), rng.randrange(4))))
        word = field(word, 12, 3, rng.choice((0, 1, rng.getrandbits(3))))
    elif opcode in FUSED:
        word = field(word, 25, 2, rng.choice((0, 1)))
    elif opcode == AMO:
        word = field(word, 12, 3, rng.choice((2, 3)))
        word = field(word, 20, 5, rng.choice((0, rng.getrandbits(5))))
    elif opcode == SYSTEM:
        word = field(word, 20, 12, rng.choice((*FUNCT12, *CSRS, *CSRS)))
        if rng.getrandbits(1):
            word = field(word, 7, 13, 0)
    elif opcode in (0x13, 0x1B, 0x33, 0x3B):
        low = rng.getrandbits(1) if opcode in (0x13, 0x1B) else 0
        word = field(word, 25, 7, rng.choice(FUNCT7) | low)
    return word


def field(word: int, low: int, width: int, value: int) -> int:
    """Return `word` with a field replaced."""
    mask = (1 << width) - 1
    return word & ~(mask << low) | (value & mask) << low


def short_words() -> list[int]:
    """Return every word of 16 bits that is not the begin of a longer instruction."""
    return [word for word in range(1 << 16) if word & 3 != 3]


def texts(folder: Path, words: list[int]) -> list[str]:
    """Return what objdump shows for each word."""
    code = b"".join(word.to_bytes(2 if word & 3 != 3 else 4, "little") for word in words)
    shown = disassemble(folder, code)
    if len(shown) != len(words):
        raise ValueError(f"{len(words)} words, but {len(shown)} lines of objdump")
    return [text for _, text in shown]


def verdict(word: int, text: str) -> bool | None:
    """Return whether a word is legal; None where that depends on more than the word."""
    if word & 3 != 3:
        return short_verdict(word, text)
    opcode, function = word & 0x7F, word >> 12 & 7
    if opcode == MISC_MEM and function <= 1:
        return True  # reserved fields of FENCE and FENCE.I are ignored (2.7, "Zifencei")
    if opcode == SYSTEM and function & 3:
        return True if word >> 20 in CSRS else None  # other CSRs may be missing or read-only
    if opcode == OP_FP and (word >> 25, word >> 20 & 31) in EXACT:
        return None if function in (5, 6) else True  # objdump knows mode 0 only
    shown = not text.startswith((".4byte", ".word"))
    if opcode in (*FUSED, OP_FP) and shown and function in (5, 6):
        return False  # a reserved mode; no function of OP-FP that has none is 5 or 6
    return shown and not text.startswith(REPLACED_RETURNS)


def short_verdict(word: int, text: str) -> bool:
    """Return whether a word of 16 bits is legal."""
    if text.startswith((".2byte", ".short", "c.unimp")):
        return False
    # C.ADDI16SP by 0 is reserved (26.5, "Integer Register-Immediate Operations").
    return not (text.startswith("c.addi16sp") and word & 0x107C == 0)


def encoded(folder: Path, rng: Random, count: int) -> Family:
    """Return a family of legal random words that only compute, as objdump sees them.

    The assembler has no part in them: fields that it never writes are exercised too.
    """
    words = [*random_words(rng, count), *rng.sample(short_words(), count // 4)]
    pool = []
    for word, text in zip(words, texts(folder, words), strict=True):
        name, _, operands = text.partition("\t")
        computes = name in REGISTERS_ONLY or name.partition(".")[0] in FLOAT_ONLY
        if computes and verdict(word, text):
            pool.append((word, text, operands.partition(",")[0]))

    def family(regs: Registers) -> list[str]:
        while True:
            word, text, target = regs.rng.choice(pool)
            if target != f"x{regs.base}":
                size = 2 if word & 3 != 3 else 4
                return [f".{size}byte {word:#x} # {text.replace(chr(9), ' ')}"]

    return family
