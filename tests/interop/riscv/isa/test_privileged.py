"""Traps, page tables and PMP are those of QEMU's `virt` board.

`ISA_ROUNDS` and `ISA_SEED` are as in test_instructions.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from tests.support.isa import privileged
from tests.support.isa.toolchain import POWER_OFF, Image

FIRST = int(os.environ.get("ISA_SEED", "1"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("ISA_ROUNDS", "1")))
SCENARIOS = 3000


@pytest.mark.parametrize("seed", SEEDS)
def test_an_instruction_traps_alike(seed: int, bare_hart: Path, tmp_path: Path) -> None:
    """Cause, value, mstatus, the result, and the page table with its A and D bits."""
    chosen = privileged.scenarios(Random(seed), SCENARIOS)  # noqa: S311 it is no secret
    text, data = privileged.text(), privileged.data(chosen)
    image = Image(tmp_path, text, data, ending=POWER_OFF, tables_at=privileged.ROOT)

    expected, actual = image.run_on_qemu_system(), image.run_on_hart(bare_hart)

    assert len(expected) == SCENARIOS * privileged.RESULT
    different = privileged.differences(chosen, expected, actual)
    note = "\n".join(different[:9])
    assert not different, f"ISA_SEED={seed}, {len(different)} scenarios\n{note}"
