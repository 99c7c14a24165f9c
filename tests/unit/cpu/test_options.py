"""The command line of `virtmesh-cpu` replaces what the machine file says."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from virtmesh.cpu.main import main, make_plan

MACHINE = """
name = "m"
memory = "64M"

[kernel]
listen = ["unix:kernel.sock"]

[cpu]
kernel = "of-the-file"
trace = "of-the-file"
gdb = "127.0.0.1:1"
"""


def options(folder: Path, *arguments: str) -> dict[str, object]:
    """Parse a command line, as click does."""
    path = folder / "machine.toml"
    path.write_text(MACHINE)
    with click.Context(main) as context:
        main.parse_args(context, ["--machine", str(path), *arguments])
        return {name: one for name, one in context.params.items() if name != "form"}


@pytest.mark.parametrize(
    ("option", "value"),
    [("kernel", "mine"), ("firmware", "mine"), ("initrd", "mine"), ("append", "mine")],
)
def test_what_is_booted(tmp_path: Path, option: str, value: str) -> None:
    """Paths are as typed."""
    guest = make_plan(options(tmp_path, f"--{option}={value}")).guest

    found = {**vars(guest.images), "append": guest.arguments}
    assert str(found[option]) == value


def test_where_it_is_looked_at(tmp_path: Path) -> None:
    """The trace and the port for debuggers too."""
    plan = make_plan(options(tmp_path, "--trace=mine", "--gdb=127.0.0.1:2"))

    assert (plan.trace, plan.gdb) == (Path("mine"), "127.0.0.1:2")


def test_an_empty_option_is_as_if_not_given(tmp_path: Path) -> None:
    """Compose passes settings that are left out so."""
    plan = make_plan(options(tmp_path, "--kernel=", "--firmware=", "--append=", "--gdb="))

    assert plan.guest.images.firmware is None
    assert (plan.guest.images.kernel.name, plan.gdb) == ("of-the-file", "127.0.0.1:1")
