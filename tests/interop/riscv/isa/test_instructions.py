"""Instructions have the results that they have in QEMU: each register, flag and byte of memory.

Each round draws new programs from the seed that a failure names. `ISA_ROUNDS` (default 1) makes
more of them, `ISA_SEED` (default 1) is the seed of the first round.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from tests.support.isa import encodings, float_vectors, toolchain
from tests.support.isa.families import FAMILIES
from tests.support.isa.programs import (
    RECORD,
    Program,
    differing,
    image,
    random_programs,
    report,
    smallest,
)
from tests.support.isa.toolchain import Image

FIRST = int(os.environ.get("ISA_SEED", "1"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("ISA_ROUNDS", "1")))
PROGRAMS, LENGTH = 150, 16
TRIPLES = 400
WORDS = 20_000


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("family", [*FAMILIES, "encoded", "mixed"])
def test_random_programs_end_alike(family: str, seed: int, bare_hart: Path, tmp_path: Path) -> None:
    """The same registers, fcsr and memory, whatever the program does."""
    rng = Random(f"{family} {seed}")  # noqa: S311 it is no secret
    families = dict(FAMILIES)
    if family not in families:
        families["encoded"] = (encodings.encoded(tmp_path, rng, 4000),)
        families["mixed"] = tuple(one for some in families.values() for one in some)
    programs = random_programs(rng, families[family], PROGRAMS, LENGTH)

    def run(some: Sequence[Program]) -> tuple[bytes, bytes]:
        assembled = image(tmp_path, some)
        return assembled.run_on_qemu(), assembled.run_on_hart(bare_hart)

    expected, actual = run(programs)

    assert len(expected) == PROGRAMS * RECORD
    worst = next(differing(programs, expected, actual), None)
    note = "" if worst is None else report(smallest(programs[worst], run), run)
    assert not note, f"ISA_SEED={seed}, family {family}\n{note}"


@pytest.mark.parametrize("seed", SEEDS)
def test_floating_point_is_exact(seed: int, bare_hart: Path, tmp_path: Path) -> None:
    """Each operation of F and D in each rounding mode, with its flags."""
    operands = float_vectors.triples(Random(seed), TRIPLES)  # noqa: S311 it is no secret
    assembled = Image(tmp_path, float_vectors.text(), float_vectors.data(operands))

    expected, actual = assembled.run_on_qemu(), assembled.run_on_hart(bare_hart)

    assert len(expected) == TRIPLES * len(float_vectors.operations()) * float_vectors.RECORD
    different = float_vectors.differences(operands, expected, actual)
    assert not different, f"ISA_SEED={seed}, {len(different)} results:\n" + "\n".join(different[:9])


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_words_are_legal(seed: int, bare_hart: Path, tmp_path: Path) -> None:
    """Random words of 32 bits, and all of 16, are instructions for the hart and for objdump."""
    rng = Random(seed)  # noqa: S311 it is no secret
    words = [*encodings.short_words(), *encodings.random_words(rng, WORDS)]
    texts = encodings.texts(tmp_path, words)

    given = b"".join(word.to_bytes(4, "little") for word in words)
    legal = [bool(byte) for byte in toolchain.run([str(bare_hart), "words"], given)]

    verdicts = map(encodings.verdict, words, texts)
    different = [
        f"{word:08x} ({text}): {'legal' if ours else 'illegal'} for the hart"
        for word, text, ours, right in zip(words, texts, legal, verdicts, strict=True)
        if right is not None and right != ours
    ]
    assert not different, f"ISA_SEED={seed}, {len(different)} words:\n" + "\n".join(different[:20])
