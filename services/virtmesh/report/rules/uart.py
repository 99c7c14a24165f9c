"""Rules about the 16550 (PC16550D data sheet, June 1995)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from virtmesh.report.event import Overrun, ReservedWrite
from virtmesh.report.rule import PC16550D, Rule
from virtmesh_common.errors import BadWidth, Misaligned, NotWritable, UnknownRegister
from virtmesh_common.uart.spec import Fcr

if TYPE_CHECKING:
    from virtmesh.report.dialogue import Dialogue
    from virtmesh.report.event import Access

_Rule = partial(Rule, specification=PC16550D)


def _sets_reserved(name: str, bits: ReservedWrite, _: Dialogue) -> bool:
    """Say whether reserved bits of a register were set."""
    return bits.register.name == name


def _reserved(name: str, clause: str, bits: str) -> Rule:
    """Return the rule about the reserved bits of a register."""
    return _Rule(
        f"uart-reserved-{name.lower()}",
        clause,
        f"Write 0 to the reserved bits of {name}: {bits}.",
        partial(_sets_reserved, name),
        on=ReservedWrite,
    )


def _refused_for(name: str, access: Access, _: Dialogue) -> bool:
    """Say whether a write of a read-only register was refused."""
    return (
        isinstance(access.error, NotWritable)
        and access.register is not None
        and access.register.name == name
    )


def _is_first_character(access: Access) -> bool:
    """Say whether an access is the write of THR that is watched: the first one."""
    return access.register is not None and access.register.name == "THR" and access.error is None


def _never_written(dialogue: Dialogue, *names: str) -> bool:
    """Say whether none of some registers was written since the driver attached."""
    return not any(dialogue.ever_wrote(name) for name in names)


RULES = (
    _Rule(
        "uart-format",
        "8.1",
        "Specify the format of the characters in LCR before sending one.",
        lambda access, dialogue: _is_first_character(access) and _never_written(dialogue, "LCR"),
    ),
    _Rule(
        "uart-divisor",
        "8.3",
        "Load the divisor latch during initialization, before sending a character.",
        lambda access, dialogue: (
            _is_first_character(access) and _never_written(dialogue, "DLL", "DLM")
        ),
    ),
    _Rule(
        "uart-lsr-write",
        "8.4",
        "Only read LSR: writing it is for the factory test.",
        partial(_refused_for, "LSR"),
    ),
    _Rule("uart-msr-write", "8.9", "Only read MSR.", partial(_refused_for, "MSR")),
    _Rule(
        "uart-transmitter-full",
        "8.4",
        "Write characters to THR while THRE is set: one, or with FIFOs up to 16.",
        lambda _, __: True,
        on=Overrun,
    ),
    _Rule(
        "uart-fcr-enable",
        "8.5",
        "Set bit 0 of FCR when writing its other bits: without it they are not programmed.",
        lambda access, _: (
            access.register is not None
            and access.register.name == "FCR"
            and access.error is None
            and bool(access.value & 0xFF)
            and not access.value & Fcr.FIFO_ENABLE
        ),
    ),
    _reserved("FCR", "8.5", "4 and 5"),
    _reserved("IER", "8.7", "4 to 7"),
    _reserved("MCR", "8.8", "5 to 7"),
    _Rule(
        "uart-register",
        "8.0",
        "Access the eight register places alone, each by the width of a register.",
        lambda access, _: isinstance(access.error, UnknownRegister | BadWidth | Misaligned),
    ),
)
