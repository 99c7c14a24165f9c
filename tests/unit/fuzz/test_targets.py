"""What fuzzing has found stays mended: all committed inputs and seeds, without libFuzzer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.fuzz import corpus
from tests.fuzz.draw import Draw
from tests.fuzz.target import load, names
from tests.support import ROOT

CORPORA_MAX = 300_000
"""Most bytes of all corpora."""
NATIVE = ROOT / "native" / "fuzz" / "src" / "main.rs"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Log nothing about hostile inputs."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("name", names())
def test_every_known_input_keeps_the_promises(name: str) -> None:
    """Seeds first: they are right."""
    target = load(name)
    with target.open() as run:
        for one in [b"", *target.seeds(), *corpus.read(name)]:
            run(one)


@pytest.mark.parametrize("name", names())
def test_every_target_has_seeds_or_a_corpus(name: str) -> None:
    """A parser is not reached by chance."""
    assert [*load(name).seeds(), *corpus.read(name)]


def test_corpora_are_small_and_of_targets() -> None:
    """So that a clone stays small."""
    files = list(corpus.FOLDER.iterdir())
    known = {*names(), *native_names()}

    assert {path.stem for path in files} <= known
    assert sum(path.stat().st_size for path in files) <= CORPORA_MAX


def test_the_page_lists_every_target() -> None:
    """docs/fuzzing.md says what each one promises."""
    page = (ROOT / "docs" / "fuzzing.md").read_text(encoding="utf-8")

    assert [name for name in (*names(), *native_names()) if f"| `{name}` |" not in page] == []


def native_names() -> list[str]:
    """Return the names of the native targets."""
    lines = NATIVE.read_text(encoding="utf-8").splitlines()
    return [line.split('"')[1] for line in lines if line.startswith('    ("')]


def test_an_input_that_ends_gives_zeroes() -> None:
    """A short input is as good as a long one."""
    draw = Draw(b"\x01")

    assert (draw.byte(), draw.byte(), draw.number(8), draw.take(4), draw.rest()) == (
        1,
        0,
        0,
        b"",
        b"",
    )
    assert draw.is_empty


def test_a_corpus_survives_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remarks are kept, with the inputs below them; the rest is replaced."""
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    (tmp_path / "one.hex").write_text("aa\n# broke it\nbb\n", encoding="ascii")

    count = corpus.write("one", [b"\x02\x03", b"\x01", bytes(100)], most=40)

    assert count == 2
    assert corpus.read("one") == [b"\x01", b"\x02\x03", b"\xbb"]
    assert "# broke it" in (tmp_path / "one.hex").read_text(encoding="ascii")
