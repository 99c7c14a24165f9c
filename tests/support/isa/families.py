"""Random instructions, by family. A function returns lines of assembly that belong together."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.isa.registers import COMPRESSED, Registers

Family = Callable[[Registers], list[str]]


def names(text: str) -> tuple[str, ...]:
    """Return the words of a text."""
    return tuple(text.split())


MODES = ("rne", "rtz", "rdn", "rup", "rmm", "dyn")
REGISTER_OPS = names(
    "add sub sll slt sltu xor srl sra or and addw subw sllw srlw sraw "
    "mul mulh mulhsu mulhu div divu rem remu mulw divw divuw remw remuw"
)
IMMEDIATE_OPS = names("addi slti sltiu xori ori andi addiw")
LOADS = {"lb": 1, "lbu": 1, "lh": 2, "lhu": 2, "lw": 4, "lwu": 4, "ld": 8}
STORES = {"sb": 1, "sh": 2, "sw": 4, "sd": 8}
AMOS = names("amoswap amoadd amoxor amoand amoor amomin amomax amominu amomaxu")
SHORT_OPS = names("sub xor or and subw addw")
BRANCHES = names("beq bne blt bge bltu bgeu")


def seeded(regs: Registers, lines: list[str], chance: float = 0.5) -> list[str]:
    """Put constants into registers that the last line reads, with some chance each."""
    operands = lines[-1].partition(" ")[2].split(", ")[1:]
    before = []
    for name in operands:
        if regs.rng.random() >= chance:
            continue
        if name[0] == "f" and name[1:].isdigit():
            before.append(f"fld {name}, {regs.constant()}")
        elif name[0] == "x" and name not in ("x0", f"x{regs.base}"):
            before.append(f"ld {name}, {regs.constant()}")
    return [*before, *lines]


def registers(regs: Registers) -> list[str]:
    """Make an operation of I or M on registers."""
    name = regs.rng.choice(REGISTER_OPS)
    return seeded(regs, [f"{name} {regs.xd()}, {regs.x()}, {regs.x()}"])


def immediates(regs: Registers) -> list[str]:
    """Make an operation of I with an immediate, or LUI or AUIPC."""
    rng = regs.rng
    kind = rng.randrange(4)
    if kind == 0:
        name, bits = rng.choice(
            (("slli", 6), ("srli", 6), ("srai", 6), ("slliw", 5), ("srliw", 5), ("sraiw", 5))
        )
        return seeded(regs, [f"{name} {regs.xd()}, {regs.x()}, {rng.getrandbits(bits)}"])
    if kind == 1:
        return [f"{rng.choice(('lui', 'auipc'))} {regs.xd()}, {rng.getrandbits(20)}"]
    value = rng.choice((-2048, -1, 0, 1, 2047, rng.randint(-2048, 2047)))
    return seeded(regs, [f"{rng.choice(IMMEDIATE_OPS)} {regs.xd()}, {regs.x()}, {value}"])


def loads(regs: Registers) -> list[str]:
    """Load a scratch word, at any alignment, to an x or an f register."""
    rng = regs.rng
    offset, register = rng.randint(-2048, 2047), regs.target(range(1, 32))
    name = rng.choice((*LOADS, "flw", "fld"))
    if name in LOADS:
        width, target = LOADS[name], regs.xd()
    else:
        width, target = {"flw": 4, "fld": 8}[name], regs.f()
    return [*regs.address(width, offset, register), f"{name} {target}, {offset}(x{register})"]


def stores(regs: Registers) -> list[str]:
    """Store to scratch memory, at any alignment, from an x or an f register."""
    rng = regs.rng
    offset, register = rng.randint(-2048, 2047), regs.target(range(1, 32))
    name = rng.choice((*STORES, "fsw", "fsd"))
    if name in STORES:
        width, source = STORES[name], regs.x()
    else:
        width, source = {"fsw": 4, "fsd": 8}[name], regs.f()
    return [*regs.address(width, offset, register), f"{name} {source}, {offset}(x{register})"]


def atomics(regs: Registers) -> list[str]:
    """Make an AMO, an LR with its SC, an SC that has no reservation or one for another address."""
    rng = regs.rng
    suffix, width = rng.choice((("w", 4), ("d", 8)))
    order = rng.choice(("", ".aq", ".rl", ".aqrl"))
    register = regs.target(range(1, 32))
    lines = regs.address(width, 0, register, aligned=True)
    kind = rng.randrange(4)
    if kind <= 1:
        name = f"{rng.choice(AMOS)}.{suffix}{order}"
        source = regs.x()
        before = []
        if source not in ("x0", f"x{regs.base}", f"x{register}"):
            before = [f"ld {source}, {regs.constant()}"]
        return [*before, *lines, f"{name} {regs.xd()}, {source}, (x{register})"]
    store = f"sc.{suffix}{order} {regs.xd()}, {regs.x()}, (x{register})"
    if kind == 2:
        target = regs.target([number for number in range(32) if number != register])
        between = [f"xori x{target}, x{target}, 1"] if rng.getrandbits(1) else []
        return [*lines, f"lr.{suffix}{order} x{target}, (x{register})", *between, store]
    if rng.getrandbits(1):
        # The first SC ends the reservation, wherever it stores.
        first = f"sc.{suffix} x0, {regs.x()}, (x{register})"
        return [*lines, f"lr.{suffix} x0, (x{register})", first, store]
    # An SC to another address fails, though the same value lies there.
    free = [number for number in range(1, 32) if number not in (regs.base, register)]
    other, value = rng.sample(free, 2)
    lines += [f"addi x{other}, x{register}, {rng.choice((-width, width))}"]
    lines += [f"l{suffix} x{value}, (x{register})", f"s{suffix} x{value}, (x{other})"]
    lines += [f"lr.{suffix} x0, (x{register})"]
    return [*lines, f"sc.{suffix} {regs.xd()}, {regs.x()}, (x{other})"]


def distance(regs: Registers, bits: int) -> int:
    """Return an even number of bytes to jump over: up to 3/4 of 2 to the power of `bits`."""
    return (regs.rng.getrandbits(bits) >> regs.rng.randrange(bits)) * 3 // 4 & ~1


def jumping(regs: Registers, jump: str, bits: int) -> list[str]:
    """Jump by `jump` (its text without the label) forwards or backwards over zeros.

    What follows the jump adds to a register, so it shows whether a branch was taken.
    """
    missed = [f"addi x{regs.target(range(1, 32))}, x{regs.rng.randrange(32)}, 1", "jal x0, 3f"]
    gap = f".skip {distance(regs, bits)}"
    if regs.rng.getrandbits(1):
        return [f"{jump} 3f", *missed, gap, "3:"]
    landed = [f"addi x{regs.target(range(1, 32))}, x{regs.rng.randrange(32)}, 2", "jal x0, 3f"]
    return ["jal x0, 2f", "1:", *landed, gap, "2:", f"{jump} 1b", *missed, "3:"]


def branches(regs: Registers) -> list[str]:
    """Branch or jump over some distance, or loop."""
    rng = regs.rng
    kind = rng.randrange(4)
    if kind == 0:
        return jumping(regs, f"jal {regs.xd()},", 19 if rng.random() < 0.01 else 13)
    if kind == 1:
        register = regs.target(range(1, 32))
        offset = rng.choice((rng.randint(-2047, 2047), -2047, 2047, 0))
        # The last bit of the sum is cleared.
        lines = [f"la x{register}, 1f + {rng.getrandbits(1) ^ (offset & 1)}"]
        lines += [f"addi x{register}, x{register}, {-offset}"]
        return [*lines, f"jalr {regs.xd()}, {offset}(x{register})", "ebreak", "1:"]
    if kind == 2:
        counter = regs.target(range(1, 32))
        target = regs.target([number for number in range(32) if number != counter])
        body = [f"add x{target}, x{target}, x{counter}", f"addi x{counter}, x{counter}, -1"]
        return [f"li x{counter}, {rng.randint(1, 9)}", "1:", *body, f"bnez x{counter}, 1b"]
    left = regs.x()
    right = rng.choice((left, regs.x()))
    return jumping(regs, f"{rng.choice(BRANCHES)} {left}, {right},", 12)


def control(regs: Registers) -> list[str]:
    """Read and write fcsr, frm, fflags; or order memory."""
    rng = regs.rng
    if rng.random() < 0.2:
        return [rng.choice(("fence", "fence.i", "fence.tso", "fence rw, w", "nop"))]
    kind = rng.randrange(4)
    if kind == 0:
        mode = rng.randrange(5)
        return [f"csrrwi {regs.xd()}, frm, {mode}"]
    if kind == 1:
        name = rng.choice(("csrrwi", "csrrsi", "csrrci"))
        return [f"{name} {regs.xd()}, fflags, {rng.getrandbits(5)}"]
    if kind == 2:
        register = regs.target(range(1, 32))
        # The upper bits of fcsr are reserved, and zero.
        value = rng.getrandbits(5) | rng.randrange(5) << 5
        return [f"li x{register}, {value}", f"csrrw {regs.xd()}, fcsr, x{register}"]
    name = rng.choice(("csrrs", "csrrc"))
    return [f"{name} {regs.xd()}, {rng.choice(('fcsr', 'frm', 'fflags'))}, x0"]


def floats(regs: Registers) -> list[str]:
    """Make an operation of F or D."""
    rng = regs.rng
    form, other = rng.choice((("s", "d"), ("d", "s")))
    mode = rng.choice(MODES)
    f, x, xd = regs.f, regs.x, regs.xd
    integer = rng.choice(("w", "wu", "l", "lu"))
    exact = form == "d" and integer in ("w", "wu")
    arithmetic = rng.choice(("add", "sub", "mul", "div"))
    fused = rng.choice(("madd", "msub", "nmadd", "nmsub"))
    selected = rng.choice(("min", "max", "sgnj", "sgnjn", "sgnjx"))
    line = rng.choice(
        (
            f"f{arithmetic}.{form} {f()}, {f()}, {f()}, {mode}",
            f"f{arithmetic}.{form} {f()}, {f()}, {f()}, {mode}",
            f"f{fused}.{form} {f()}, {f()}, {f()}, {f()}, {mode}",
            f"f{fused}.{form} {f()}, {f()}, {f()}, {f()}, {mode}",
            f"fsqrt.{form} {f()}, {f()}, {mode}",
            f"fcvt.{integer}.{form} {xd()}, {f()}, {mode}",
            f"fcvt.{form}.{integer} {f()}, {x()}" + ("" if exact else f", {mode}"),
            f"fcvt.{form}.{other} {f()}, {f()}" + ("" if form == "d" else f", {mode}"),
            f"f{selected}.{form} {f()}, {f()}, {f()}",
            f"f{rng.choice(('eq', 'lt', 'le'))}.{form} {xd()}, {f()}, {f()}",
            f"fclass.{form} {xd()}, {f()}",
            f"fmv.x.{'w' if form == 's' else 'd'} {xd()}, {f()}",
            f"fmv.{'w' if form == 's' else 'd'}.x {f()}, {x()}",
        )
    )
    lines = seeded(regs, [line], 0.8)
    if rng.random() < 0.5:
        lines.append(f"csrrwi {xd()}, fflags, 0")
    return lines


def compressed_operations(regs: Registers) -> list[str]:
    """Make an operation of C on registers."""
    rng = regs.rng
    nonzero = regs.target(range(1, 32))
    other = rng.randint(1, 31)
    small = rng.randint(-32, 31)
    shift = rng.randint(1, 63)
    upper = rng.choice((rng.randint(1, 31), rng.randint(0xFFFE0, 0xFFFFF)))
    short = regs.short_xd()
    lines = [
        f"c.addi x{nonzero}, {small or 1}",
        f"c.addiw x{nonzero}, {small}",
        f"c.li x{nonzero}, {small}",
        f"c.slli x{nonzero}, {shift}",
        f"c.mv x{nonzero}, x{other}",
        f"c.add x{nonzero}, x{other}",
        f"c.srli {short}, {shift}",
        f"c.srai {short}, {shift}",
        f"c.andi {short}, {small}",
        f"c.addi4spn {short}, sp, {4 * rng.randint(1, 255)}",
        "c.nop",
    ]
    lines += [f"c.{name} {short}, {regs.short()}" for name in SHORT_OPS]
    if nonzero != 2:
        lines.append(f"c.lui x{nonzero}, {upper}")
    if regs.base != 2:
        lines.append(f"c.addi16sp sp, {16 * (rng.randint(-32, 31) or 1)}")
    return [rng.choice(lines)]


def compressed_jumps(regs: Registers) -> list[str]:
    """Make a jump or a branch of C."""
    rng = regs.rng
    kind = rng.randrange(3)
    if kind == 0:
        return jumping(regs, "c.j", 11)
    if kind == 1:
        return jumping(regs, f"c.{rng.choice(('beqz', 'bnez'))} {regs.short()},", 8)
    # C.JALR writes x1.
    register = regs.target(range(2, 32))
    name = "c.jr" if regs.base == 1 else rng.choice(("c.jr", "c.jalr"))
    return [f"la x{register}, 1f", f"{name} x{register}", "c.ebreak", "1:"]


def compressed_memory(regs: Registers) -> list[str]:
    """Make a load or a store of C."""
    rng = regs.rng
    name, width = rng.choice((("w", 4), ("d", 8), ("fd", 8)))
    letter = "f" if name == "fd" else ""
    size = name[-1]
    load = bool(rng.getrandbits(1))
    verb = f"c.{letter}{'l' if load else 's'}{size}"
    if regs.base != 2 and rng.getrandbits(1):
        offset = width * rng.randrange(64)
        target = regs.f() if letter else f"x{regs.target(range(1, 32))}" if load else regs.x()
        return [*regs.address(width, offset, 2), f"{verb}sp {target}, {offset}(sp)"]
    offset, register = width * rng.randrange(32), regs.target(COMPRESSED)
    target = regs.short_f() if letter else regs.short_xd() if load else regs.short()
    return [*regs.address(width, offset, register), f"{verb} {target}, {offset}(x{register})"]


FAMILIES: dict[str, tuple[Family, ...]] = {
    "integer": (registers, immediates),
    "memory": (loads, stores),
    "atomic": (atomics,),
    "control": (branches, control),
    "float": (floats,),
    "compressed": (compressed_operations, compressed_jumps, compressed_memory),
}
"""The families by name."""
