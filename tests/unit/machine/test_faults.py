"""Faults on demand in a machine file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from virtmesh.machine.file import load
from virtmesh_common.errors import BadMachine

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = '[[devices]]\nname = "vda"\nkind = "{}"\nfaults = {}\noptions.image = "d.img"\n'


def write(folder: Path, kind: str, faults: str) -> Path:
    """Write a machine file with one device."""
    path = folder / "machine.toml"
    path.write_text(DEVICE.format(kind, faults))
    return path


def test_faults_are_options_of_their_device(tmp_path: Path) -> None:
    """In words, parted as the option has it; an empty list is no option."""
    machine = load(write(tmp_path, "blk", '["io-error type=read limit=1", "io-error every=9"]'))
    assert machine.devices[0].options["faults"] == "io-error type=read limit=1;io-error every=9"
    assert "faults" not in load(write(tmp_path, "blk", "[]")).devices[0].options


@pytest.mark.parametrize(
    ("kind", "faults", "says"),
    [
        ("blk", '"io-error"', "devices[0].faults must be a list"),
        ("blk", "[1]", "devices[0].faults must be a list of texts"),
        ("blk", '["io-error every=x"]', "devices[0].faults are wrong: every: 'x' is no number"),
        (
            "blk",
            '["io-error; io-error"]',
            "devices[0].faults are wrong: 'io-error': write KEY=VALUE",
        ),
        ("input", '["io-error"]', "devices[0].faults are wrong: devices of kind input can't have"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_starts(
    tmp_path: Path, kind: str, faults: str, says: str
) -> None:
    """By the key, as all of a machine file."""
    with pytest.raises(BadMachine, match=re.escape(says)):
        load(write(tmp_path, kind, faults))
