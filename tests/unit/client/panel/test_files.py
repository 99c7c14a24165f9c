"""The files of the page: what it names is there, and nothing is from elsewhere."""

from __future__ import annotations

import re

import pytest

from virtmesh_client.panel.files import INDEX, load_files

FILES = load_files()
OWN = sorted(path for path in FILES if not path.startswith("vendor/"))


def text_of(path: str) -> str:
    """Return the content of a file."""
    return FILES[path].content.decode()


def test_the_page_finds_its_files() -> None:
    """Those that it names, and those that its modules import."""
    named = set(re.findall(r'(?:href|src)="/static/([^"]+)"', text_of(INDEX)))
    imported = {
        found
        for path in OWN
        for found in re.findall(r'(?:from |import\()"\./([^"]+)"', text_of(path))
    }

    assert len(named) >= 4
    assert "vendor/novnc.js" in imported
    assert sorted((named | imported) - set(FILES)) == []


def test_every_module_is_used() -> None:
    """A file that nobody loads is left over."""
    texts = "".join(text_of(path) for path in OWN)
    unused = [path for path in OWN if path != INDEX and path not in texts]

    assert unused == []


@pytest.mark.parametrize("path", OWN)
def test_nothing_is_loaded_from_elsewhere(path: str) -> None:
    """No address of another host, and no markup made from text."""
    text = text_of(path).replace("http://www.w3.org/2000/svg", "")

    assert re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text) == []
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", text) == []
    assert re.findall(r"\beval\b|new Function", text) == []


def test_the_page_has_no_script_of_its_own() -> None:
    """The policy forbids scripts and handlers inside of the page."""
    page = text_of(INDEX)

    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"\son[a-z]+=", page) == []


def test_what_is_asked_of_the_page_is_there() -> None:
    """Every element that a module looks up by its name."""
    names = {name for path in OWN for name in re.findall(r'byId\("([a-z-]+)"\)', text_of(path))}
    there = set(re.findall(r'\sid="([a-z-]+)"', text_of(INDEX)))

    assert len(names) > 30
    assert sorted(names - there) == []
