"""The examples in docstrings of public classes, for the tests that run them."""

from __future__ import annotations

import inspect
import textwrap

MARK = "Example:"


def example_of(docstring: str) -> str:
    """Return the code below "Example:" in a docstring, "" without one.

    The example ends with its indentation.
    """
    lines = inspect.cleandoc(docstring).splitlines()
    if MARK not in lines:
        return ""
    below = lines[lines.index(MARK) + 1 :]
    end = next((at for at, line in enumerate(below) if line and not line.startswith(" ")), None)
    return textwrap.dedent("\n".join(below[:end])).strip()
