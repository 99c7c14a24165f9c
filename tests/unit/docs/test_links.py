"""What the pages point to is there: files, sections, tests, and the names in the code map."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.docs import pages

LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:|mailto:)([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"[\w.-]+(/[\w.-]+)+/?")
TEST = re.compile(r"((?:tests|native)/[\w./-]+\.(?:py|rs))::(\w+)")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(\(\))?")
BASES = (
    ROOT,
    ROOT / "services" / "virtmesh",
    ROOT / "clients",
    ROOT / "common",
    ROOT / "native",
)
"""Folders that a path of the documentation may be relative to, beside that of its page."""
SUFFIXES = {".py", ".rs", ".proto", ".md", ".toml", ".sh", ".json", ".yml", ".lock", ".pyi"}
MADE = ("virtmesh_entropy/", "build/", "dist/", "files/", "native/target", ".venv/")
"""Beginnings of paths that are made by commands, and are not in the repository."""
GLUE = {"lib.rs", "mod.rs", "sync.rs"}
"""Source files of crates that only put others together."""
ARCHITECTURE = ROOT / "docs" / "architecture.md"

each_page = pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def looks_like_a_path(token: str) -> bool:
    """Say whether a token is a path of the repository: known by its first folder or its suffix."""
    if not PATH.fullmatch(token) or token.startswith(MADE):
        return False
    first = token.split("/", maxsplit=1)[0]
    return (ROOT / first).is_dir() or Path(token).suffix in SUFFIXES


@cache
def exists(page: Path, token: str) -> bool:
    """Say whether a path is there, from the folder of the page or from one of BASES."""
    return any((base / token).exists() for base in (page.parent, *BASES))


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """To a file, and to a section of it where they name one."""
    broken = []
    for link in LINK.findall(prose(page)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


@each_page
def test_paths_of_the_repository_exist(page: Path) -> None:
    """Whatever stands in backticks and looks like one."""
    tokens = {token for token in CODE.findall(prose(page)) if looks_like_a_path(token)}

    assert sorted(token for token in tokens if not exists(page, token)) == []


@each_page
def test_named_tests_exist(page: Path) -> None:
    """A test is named as FILE::NAME; one that has moved is told by its new place."""
    named = TEST.findall(page.read_text(encoding="utf-8"))

    assert {name: places(name) for file, name in named if file not in places(name)} == {}


@cache
def places(test: str) -> tuple[str, ...]:
    """Return the files that have a test of this name."""
    files = [
        file
        for pattern in ("tests/**/*.py", "native/*/src/**/*.rs", "native/*/tests/**/*.rs")
        for file in ROOT.glob(pattern)
    ]
    return tuple(str(file.relative_to(ROOT)) for file in files if test in words(file))


def test_the_code_map_names_what_the_files_have() -> None:
    """Each name in a row of a table is in one of the files that the row names."""
    rows = list(code_map())

    assert len(rows) > 200
    assert {row: lost for row in rows if (lost := lost_names(CODE.findall(row)))} == {}


def test_the_code_map_is_complete() -> None:
    """Every module of the packages, and every source file of the native crates, has a row."""
    named = {file for row in code_map() for token in CODE.findall(row) for file in files_of(token)}

    assert [str(file.relative_to(ROOT)) for file in sources() if file not in named] == []


def sources() -> list[Path]:
    """Return the files that the code map must name."""
    patterns = ("common/virtmesh_common", "services/virtmesh", "clients/virtmesh_client")
    python = [file for folder in patterns for file in (ROOT / folder).rglob("*.py")]
    rust = [file for file in (ROOT / "native").glob("*/src/**/*.rs") if file.name not in GLUE]
    return sorted(
        [file for file in python if not file.name.startswith("__") and "api" not in file.parts]
        + rust
    )


def code_map() -> Iterator[str]:
    """Return the rows of those tables of the architecture that are headed by file or question."""
    for table in re.findall(r"(?:^\|.*\n)+", prose(ARCHITECTURE), re.MULTILINE):
        head, _, *rows = table.splitlines()
        if head.startswith(("| file |", "| question |")):
            yield from rows


def lost_names(tokens: list[str]) -> list[str]:
    """Return the names among the tokens of a row that none of its files has."""
    files = [file for token in tokens for file in files_of(token)]
    known = {word for file in files for word in words(file)}
    names = [token for token in tokens if NAME.fullmatch(token) and not files_of(token)]
    return [name for name in names if files and not parts_of(name) <= known]


def parts_of(name: str) -> set[str]:
    """Return the parts of a dotted name, which may end in ()."""
    return set(name.removesuffix("()").split("."))


def files_of(token: str) -> list[Path]:
    """Return the file that a token names, in whichever of BASES it is; all files of a folder."""
    if not PATH.fullmatch(token) and Path(token).suffix not in SUFFIXES:
        return []
    found = [base / token for base in BASES if (base / token).exists()]
    return [file for path in found for file in ([path] if path.is_file() else path.rglob("*.*"))]


@cache
def words(file: Path) -> frozenset[str]:
    """Return the words of a file; none for one that is no text."""
    if file.suffix not in SUFFIXES:
        return frozenset()
    return frozenset(re.findall(r"\w+", file.read_text(encoding="utf-8")))
