"""Texts of strangers at a terminal: nothing in them drives it."""

from __future__ import annotations

import ast
import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import ROOT
from virtmesh_client.cli.errors import Failure
from virtmesh_client.cli.show import show_facts, show_json, show_table
from virtmesh_common.printable import printable, printable_lines, say

HOSTILE = st.text(alphabet=st.characters(categories=["Cc", "Cf", "Lu", "Zs", "Cs", "Zl"]))
"""Text of control characters, of those that turn the direction of writing, and of others."""
SEAMS: dict[str, Callable[[str], object]] = {
    "say": say,
    "table": lambda text: show_table(("NAME", "DRIVER"), [(text, text)]),
    "facts": lambda text: show_facts([("driver", text)]),
    "json": lambda text: show_json({"driver": text}),
    "error": lambda text: say(Failure("DEVICE_ATTACHED", f"held by {text}").line, err=True),
}
"""Where commands print, by name."""


@pytest.mark.parametrize("seam", SEAMS)
@given(text=HOSTILE)
def test_no_seam_prints_what_drives_a_terminal(seam: str, text: str) -> None:
    """Whatever the driver calls itself."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        SEAMS[seam](text)
    assert all(line.isprintable() for line in printed.getvalue().replace("\t", " ").split("\n"))


@given(text=HOSTILE)
def test_what_is_printable_stays(text: str) -> None:
    """Each other character becomes one question mark."""
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) == len(text)
    assert all(after in (before, "?") for before, after in zip(text, shown, strict=True))
    assert printable(shown) == shown


@given(text=HOSTILE)
def test_lines_stay_lines(text: str) -> None:
    """And nothing else does."""
    assert printable_lines(text).count("\n") == text.count("\n")
    assert "\r" not in printable_lines(text)


def test_commands_print_by_one_function() -> None:
    """None of them goes past it."""
    past = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for folder in ("clients/virtmesh_client", "services/virtmesh")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"click.echo", "click.secho", "print"}
    ]
    assert past == []
