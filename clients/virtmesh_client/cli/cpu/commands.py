"""`virtmesh cpu`: run, stop, step, look at registers and memory."""

# ruff: noqa: FBT001 - click hands each option over as a parameter

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from virtmesh_client.cli.settings import SIZE, Settings, common
from virtmesh_client.cli.show import hexdump, show_facts, show_json
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from virtmesh_client.cpu.models import CpuStatus

WIDTH = 4
"""Registers of one line."""
MEMORY_DEFAULT = 256
"""Bytes that `mem` shows."""
MEMORY_MAX = 64 << 20
"""Most bytes that `mem` reads."""
ABI_NAMES = (
    *("zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1"),
    *(f"a{number}" for number in range(8)),
    *(f"s{number}" for number in range(2, 12)),
    *(f"t{number}" for number in range(3, 7)),
)
"""Names of x0 to x31 (RISC-V ELF psABI, 1.1)."""


class Number(click.ParamType[int]):
    """A number: decimal, or hexadecimal with 0x."""

    name = "number"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return it."""
        try:
            number = int(str(value), 0)
        except ValueError:
            number = -1
        if not 0 <= number < 1 << 64:
            self.fail(f"{value!r} is no number of 64 bits: write 4096 or 0x80200000", param, ctx)
        return number


NUMBER = Number()


@click.group()
@common
def cpu() -> None:
    """Run, stop and look at the CPU of a machine."""


def show_status(settings: Settings, status: CpuStatus) -> None:
    """Show how the CPU is."""
    if settings.json:
        show_json(status)
    elif not settings.quiet:
        say(spell_status(status))


def spell_status(status: CpuStatus) -> str:
    """Say how the CPU is, in one line."""
    words = [status.state]
    if status.reason:
        words.append(f"({status.reason}{f' {status.code}' if status.reason == 'fail' else ''})")
    if status.state in {"stopped", "off"}:
        words.append(f"at {status.pc:#x}{f' {status.symbol}' if status.symbol else ''}")
    if status.reason == "watchpoint":
        words.append(f"since it touched {status.address:#x}")
    if status.missing:
        words.append(f"for {', '.join(status.missing)}")
    return " ".join(words)


@cpu.command()
@common
@click.pass_obj
def status(settings: Settings) -> None:
    """Show how the CPU is."""
    with settings.connect() as machine:
        show_status(settings, machine.cpu().status())


@cpu.command()
@click.option("--all", "every", is_flag=True, help="Show all registers, those of CSRs too.")
@common
@click.pass_obj
def regs(settings: Settings, every: bool) -> None:
    """Show the registers."""
    with settings.connect() as machine:
        values = machine.cpu().registers()
    if settings.json:
        show_json({name: f"{value:#x}" for name, value in values.items()})
        return
    shown = {
        name: value
        for name, value in values.items()
        if every or name in {"pc", "privilege"} or (name[1:].isdecimal() and name[0] == "x")
    }
    cells = [f"{spell_name(name):>12} {value:016x}" for name, value in shown.items()]
    for start in range(0, len(cells), WIDTH):
        say("  ".join(cells[start : start + WIDTH]))


def spell_name(name: str) -> str:
    """Spell the name of a register with what the ABI calls it, such as `a0/x10`."""
    if name.startswith("x") and name[1:].isdecimal() and int(name[1:]) < len(ABI_NAMES):
        return f"{ABI_NAMES[int(name[1:])]}/{name}"
    return name


@cpu.command()
@click.argument("count", type=NUMBER, default=1)
@common
@click.pass_obj
def step(settings: Settings, count: int) -> None:
    """Execute COUNT instructions; the CPU must be stopped."""
    with settings.connect() as machine:
        show_status(settings, machine.cpu().step(min(count, (1 << 32) - 1)))


@cpu.command()
@common
@click.pass_obj
def stop(settings: Settings) -> None:
    """Stop the CPU between two instructions."""
    with settings.connect() as machine:
        show_status(settings, machine.cpu().stop())


@cpu.command()
@common
@click.pass_obj
def go(settings: Settings) -> None:
    """Let the CPU run; a guest that has ended boots anew."""
    with settings.connect() as machine:
        show_status(settings, machine.cpu().start())


@cpu.command()
@common
@click.pass_obj
def reset(settings: Settings) -> None:
    """Boot the guest anew."""
    with settings.connect() as machine:
        show_status(settings, machine.cpu().reset())


@cpu.command(name="break")
@click.argument("addresses", type=NUMBER, nargs=-1)
@click.option(
    "--watch",
    "watched",
    multiple=True,
    metavar="ADDRESS[,SIZE][,r|w|rw]",
    help="Stop behind an access to memory  [default: 8 bytes, writes]",
)
@common
@click.pass_obj
def set_breaks(settings: Settings, addresses: tuple[int, ...], watched: tuple[str, ...]) -> None:
    """Stop the CPU at virtual addresses. They replace those before; without any there are none."""
    points = [parse_watchpoint(text) for text in watched]
    with settings.connect() as machine:
        show_status(settings, machine.cpu().set_breakpoints(addresses, points))


def parse_watchpoint(text: str) -> tuple[int, int, str]:
    """Read ADDRESS[,SIZE][,r|w|rw]. Errors: BadParameter."""
    address, *others = text.split(",")
    size, kind = 8, "w"
    for one in others:
        if one in {"r", "w", "rw"}:
            kind = one
        else:
            size = NUMBER.convert(one, None, None)
    return NUMBER.convert(address, None, None), size, kind


@cpu.command()
@click.argument("place", metavar="ADDRESS", type=NUMBER)
@click.argument("size", type=SIZE, default=MEMORY_DEFAULT)
@click.option("--virtual", is_flag=True, help="ADDRESS is one of the guest's code, as of now.")
@click.option("--raw", is_flag=True, help="Write the bytes as they are.")
@click.option("--write", "data", metavar="HEX", help="Write these bytes instead.")
@common
@click.pass_obj
def mem(  # noqa: PLR0913, PLR0917 - see above
    settings: Settings, place: int, size: int, virtual: bool, raw: bool, data: str | None
) -> None:
    """Show guest memory, or change it."""
    if size > MEMORY_MAX:
        raise click.UsageError(f"{size} bytes are too many: at most 64M")
    try:
        written = None if data is None else bytes.fromhex(data)
    except ValueError as error:
        raise click.UsageError("--write needs pairs of hexadecimal digits") from error
    with settings.connect() as machine:
        if written is not None:
            machine.cpu().write_memory(place, written, virtual=virtual)
            return
        content = machine.cpu().read_memory(place, size, virtual=virtual)
    if settings.json:
        show_json({"address": place, "data": content.hex()})
    elif raw:
        sys.stdout.buffer.write(content)
    else:
        for line in hexdump([content], place):
            say(line)


@cpu.command()
@common
@click.pass_obj
def stats(settings: Settings) -> None:
    """Show the counters of the CPU."""
    with settings.connect() as machine:
        counted = machine.cpu().stats()
    if settings.json:
        show_json(counted)
    else:
        show_facts(list(counted.items()))
