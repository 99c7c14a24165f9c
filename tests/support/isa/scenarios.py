"""Scenarios: an instruction, the mode it runs in, and what is mapped, protected and delegated then.

Physical memory: the program and its results from the start of RAM, at `ROOT` three page tables, at
`DATA` a page full of ECALLs, then the scenarios. Virtual memory: the first GiB of RAM is mapped for
S at its own address, and for U 1 GiB higher; a scenario has its page somewhere in the GiB from
`WINDOW`.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from random import Random

from tests.support.isa import values
from tests.support.isa.toolchain import ORIGIN

WINDOW = 0x4000_0000
USER_ALIAS = 0x4000_0000
GIB, MIB_2, PAGE = 1 << 30, 1 << 21, 1 << 12
ROOT = ORIGIN + 0x10_0000
DATA = ROOT + 3 * PAGE
HOLE = 0x10_0000_0000
"""A physical address where neither machine has anything."""
USER, SUPERVISOR, MACHINE = 0, 1, 3
V, R, W, X, U, A, D = (1 << bit for bit in (0, 1, 2, 3, 4, 6, 7))
SPP, MPP, FS, MPRV, SUM, MXR = 1 << 8, 3 << 11, 3 << 13, 1 << 17, 1 << 18, 1 << 19
TVM, TW, TSR = 1 << 20, 1 << 21, 1 << 22
VS = 3 << 9
SV39 = 8 << 60
STATUS = 0x7F_FFFF ^ VS
NA4, NAPOT = 2 << 3, 3 << 3

MEMORY = {
    "load": "ld a2, 0(a0)",
    "load byte": "lb a2, 0(a0)",
    "load word": "lwu a2, 0(a0)",
    "load float": "fld fa0, 0(a0)",
    "store": "sd a1, 0(a0)",
    "store byte": "sb a1, 0(a0)",
    "store float": "fsd fa0, 0(a0)",
    "swap": "amoswap.w a2, a1, (a0)",
    "add": "amoadd.d a2, a1, (a0)",
    "reserve": "lr.d a2, (a0)",
    "reserve and store": "lr.w a2, (a0); sc.w a2, a1, (a0)",
    "jump": "jalr a2, 0(a0)",
}
"""Stubs that use the page of the scenario."""
AMOS = ("swap", "add")
BREAKPOINT = 3
CSRS = (
    *("sstatus", "sie", "stvec", "scounteren", "sscratch", "sepc", "scause", "stval", "satp"),
    *("mstatus", "medeleg", "mie", "mtvec", "mscratch", "mepc", "mcause", "mtval", "mcounteren"),
    *("mhartid", "mcountinhibit", "fcsr", "fflags", "frm"),
)
OTHERS = {
    "nothing": "nop",
    "SRET": "sret",
    "MRET": "mret",
    "SFENCE.VMA": "sfence.vma",
    "SFENCE.VMA of one page": "sfence.vma a0, a1",
    "FENCE.I": "fence.i",
    "EBREAK": "ebreak",
    "C.EBREAK": "c.ebreak",
    "zeros": ".4byte 0",
    "a reserved word": ".4byte 0xffffffff",
    "a reserved word of OP": ".4byte 0x7e000033",
    "a float sum": "fadd.d fa0, fa0, fa0",
    "a float move": "fmv.d.x fa0, a1",
    "a reserved mode": ".4byte 0x02a55553",
    "read cycle": "csrr x0, cycle",
    "read time": "csrr x0, time",
    "read instret": "csrr x0, instret",
    "write cycle": "csrw cycle, a1",
    "a missing CSR": "csrr a2, 0x5c0",
    **{f"read {name}": f"csrr a2, {name}" for name in CSRS},
    **{f"write {name}": f"csrrw t0, {name}, a1; csrr a2, {name}; csrw {name}, t0" for name in CSRS},
}
"""Stubs that don't."""
STUBS = {**MEMORY, **OTHERS}
CSR_BITS = {
    "medeleg": 0xB3FF,
    "mie": 0xAAA,
    "sie": 0x222,
    "mcountinhibit": 5,
    "mcause": 0xF,
    "sstatus": STATUS,
    "mstatus": STATUS,
}
"""What may be written; in other bits the machines may differ."""


@dataclass(frozen=True)
class Scenario:
    """The numbers of a scenario, in the order of the record."""

    machine: int
    """1: stay in machine mode; 0: go to the mode in mstatus.MPP."""
    stub: int
    """Number of the stub, then the offset of the alias that is executed."""
    alias: int
    mstatus: int
    satp: int
    medeleg: int
    counters: int
    a0: int
    a1: int
    data: int
    slot_2: int
    pte_2: int
    slot_1: int
    pte_1: int
    slot_0: int
    pte_0: int
    pmpaddr: int
    pmpcfg: int

    def __str__(self) -> str:
        """Return the record, readable."""
        name = list(STUBS)[self.stub]
        numbers = zip(self.__dataclass_fields__, astuple(self), strict=True)
        return f"{name}: " + " ".join(f"{field}={number:#x}" for field, number in numbers)


def scenarios(rng: Random, count: int) -> list[Scenario]:
    """Return random scenarios."""
    return [scenario(rng) for _ in range(count)]


def scenario(rng: Random) -> Scenario:
    """Return a random scenario."""
    names = list(STUBS)
    name = rng.choice(list(MEMORY) if rng.random() < 0.7 else list(OTHERS))
    mode = rng.choice((USER, SUPERVISOR, MACHINE))
    mstatus = random_mstatus(rng, mode)
    satp = SV39 | ROOT >> 12 if rng.random() < 0.85 else 0
    data = DATA + 8 * rng.randrange(1, PAGE // 8 - 2)
    address, slots, entries = mapping(rng, data)
    effective = (mstatus & MPP) >> 11 if mstatus & MPRV and name != "jump" else mode
    if effective == MACHINE or not satp:
        address = rng.choice((data, data, HOLE))
    pmpaddr, pmpcfg = protection(rng, data)
    # A misaligned access may be checked in parts (3.7.1).
    whole_pages = pmpaddr % (PAGE // 4) == (PAGE // 8 - 1 if pmpcfg else 0)
    if whole_pages and name in (*AMOS, "reserve", "reserve and store", "store", "load"):
        address += rng.choice((0, 0, 0, rng.randrange(8)))
    if name == "jump":
        address += rng.choice((0, 0, 4))
    a1 = values.integer(rng)
    if name.startswith("write "):
        a1 &= CSR_BITS.get(name.removeprefix("write "), -1)
        if name == "write mstatus" and a1 & MPP == 2 << 11:
            a1 |= MPP  # 2 is reserved
        if name == "write satp":
            a1 = rng.choice((0, 8, 8, 1, 15)) << 60 | rng.getrandbits(16) << 44 | ROOT >> 12
    # The supervisor's handler could not be fetched, again and again; or see `privileged.forgive`.
    undelegated = name in ("write satp", *AMOS) or (pmpcfg and pmpaddr >> 10 != DATA >> 12)
    return Scenario(
        machine=int(mode == MACHINE),
        stub=names.index(name),
        alias=USER_ALIAS if mode == USER and satp else 0,
        mstatus=mstatus,
        satp=satp,
        medeleg=0 if undelegated else rng.choice((0, 0xB1FF, rng.getrandbits(16) & 0xB1FF)),
        counters=rng.choice((0, 7, rng.getrandbits(3))) | rng.getrandbits(3) << 3,
        a0=address & values.ALL,
        a1=a1,
        data=data,
        slot_2=slots[0],
        pte_2=entries[0],
        slot_1=slots[1],
        pte_1=entries[1],
        slot_0=slots[2],
        pte_0=entries[2],
        pmpaddr=pmpaddr,
        pmpcfg=pmpcfg,
    )


def random_mstatus(rng: Random, mode: int) -> int:
    """Return mstatus to enter a mode with: in machine mode, MPP is that of MPRV."""
    mstatus = rng.getrandbits(32) & (SPP | SUM | MXR | TVM | TW | TSR | 1 << 5 | 1 << 7)
    mstatus |= rng.choice((0, 1, 2, 3, 3, 3)) << 13
    if mode == MACHINE:
        mstatus |= rng.choice((USER, SUPERVISOR, SUPERVISOR, MACHINE)) << 11
        return mstatus | (MPRV if rng.getrandbits(1) else 0)
    return mstatus | mode << 11


def mapping(rng: Random, data: int) -> tuple[int, tuple[int, int, int], tuple[int, int, int]]:
    """Return a virtual address for `data`, and slots and entries of the three levels."""
    index_1, index_0 = rng.randrange(512), rng.randrange(512)
    level = rng.choice((0, 0, 0, 1, 1, 2))
    target = DATA if level == 0 else ORIGIN
    low = data % PAGE | index_0 << 12 | index_1 << 21
    if level == 1:
        low = data % MIB_2 | index_1 << 21
    elif level == 2:
        low = data % GIB
    if level > 0 and rng.random() < 0.05:
        target += PAGE  # misaligned for a superpage
    if rng.random() < 0.05:
        target = HOLE
    leaf = V | rng.getrandbits(8) | rng.choice((R | W | X | A | D, R | X | A, 0))
    leaf = leaf & ~U if rng.getrandbits(1) else leaf
    pointers = [ROOT + PAGE, ROOT + 2 * PAGE]
    entries = [pointer >> 2 | V | odd(rng) for pointer in pointers][: 2 - level]
    leaf ^= odd(rng)
    if level > 0 and not leaf & (R | X):
        leaf |= R  # no pointer into the program
    entries.append(target >> 2 | leaf)
    entries += [0] * (3 - len(entries))
    address = WINDOW | low
    if rng.random() < 0.05:
        address |= rng.choice((1 << 39, 1 << 63, -1 << 39))
    index_1, index_0 = low >> 21 & 511, low >> 12 & 511
    slots = (ROOT + 8, ROOT + PAGE + 8 * index_1, ROOT + 2 * PAGE + 8 * index_0)
    return address, slots, (entries[0], entries[1], entries[2])


def odd(rng: Random) -> int:
    """Return bits that make an entry an unusual one; mostly none."""
    if rng.random() < 0.85:
        return 0
    return rng.choice((V, U, A, D, W, R, X, 1 << 5, 1 << 8, 1 << 54, 1 << 61, 1 << 63))


def protection(rng: Random, data: int) -> tuple[int, int]:
    """Return address and configuration of the first PMP entry.

    Off; or for the page of data or of a table; or for a part of the page, around `data`.
    """
    kind = rng.random()
    if kind < 0.65:
        return 0, 0
    rights = rng.choice((0, R, R | W, X, R | X, R | W | X)) >> 1
    if kind < 0.75:
        at = data + rng.choice((0, 0, -4, 4, 8))
        if rng.getrandbits(1):
            return at >> 2, NA4 | rights
        size = 8 << rng.randrange(8)
        return (at & -size) >> 2 | size // 8 - 1, NAPOT | rights
    base = rng.choice((DATA, DATA, ROOT, ROOT + 2 * PAGE))
    return base >> 2 | PAGE // 8 - 1, NAPOT | rights
