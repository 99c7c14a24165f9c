"""A page that a reader follows: files to write, and commands to type with what they print.

A file is a block of code below a line that ends with "to `NAME`:". Commands are the lines of
```console blocks that begin with "$ "; what stands below one is its output; "..." is any text.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FILE = re.compile(r"to `([\w./]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
LIMIT_S = 90
"""Longest time for one command, in seconds."""
SCRIPT = """
[ ! -e .exported ] || . ./.exported
{command}
code=$?
export -p > .exported
exit $code
"""


@dataclass(frozen=True)
class Step:
    """A command, what it prints, and the line of the page that has it."""

    command: str
    output: str
    line: int


def files_of(page: str) -> dict[str, str]:
    """Return the text of each file that a page has the reader write, by its name."""
    return dict(FILE.findall(page))


def steps_of(page: str) -> list[Step]:
    """Return the commands of a page, in order."""
    steps: list[Step] = []
    for block in CONSOLE.finditer(page):
        first = page.count("\n", 0, block.start(1)) + 1
        for number, line in enumerate(block[1].splitlines(), start=first):
            if line.startswith("$ "):
                steps.append(Step(line.removeprefix("$ "), "", number))
            else:
                last = steps.pop()
                steps.append(Step(last.command, f"{last.output}{line}\n", last.line))
    return steps


class Reader:
    """Someone who follows a page in a folder, in one shell: what is exported stays so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = {
            **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "VIRTMESH_RUN_DIR": str(folder / "run"),
            "COLUMNS": "80",
        }

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def type(self, command: str) -> str:
        """Type a command; return what it prints. Errors: AssertionError when it fails."""
        done = subprocess.run(
            ["bash", "-c", SCRIPT.format(command=command)],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}: exit status {done.returncode}\n{done.stdout}"
        return done.stdout

    def follow(self, step: Step) -> str:
        """Type a command of the page; return what it prints.

        Errors: AssertionError when that is not what the page says.
        """
        printed = self.type(step.command)
        checker = doctest.OutputChecker()
        wanted = step.output
        assert checker.check_output(wanted, printed, LOOSE), (
            f"line {step.line}: $ {step.command}\nwanted:\n{wanted}\nprinted:\n{printed}"
        )
        return printed
