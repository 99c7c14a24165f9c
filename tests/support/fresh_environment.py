"""A new environment with our wheels, and the oldest or newest packages that their metadata allow.

uv resolves and installs it, in a second or two where it has the packages already.
"""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import zipfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from email.message import Message

OWN = "virtmesh"
OLDEST = (3, 11)
"""What the metadata of the wheels promise of Python."""
NAMES = ("python3.11", "python3.12", "python3.13", "python3.14")
DEBIANS = "/usr/bin/python3"
PYENVS = ".pyenv/versions/*/bin/python3"
"""Where pyenv keeps interpreters, below the home; on the PATH it has the chosen one only."""
UV = Path(sys.executable).with_name("uv")
SECONDS = 300.0
"""Limit for an installation: packages may have to be fetched."""


class Versions(StrEnum):
    """Which versions are taken of what the wheels need: values of uv's --resolution."""

    LOWEST = "lowest-direct"
    HIGHEST = "highest"


def read_metadata(wheel: Path) -> Message:
    """Return the METADATA of a wheel."""
    with zipfile.ZipFile(wheel) as files:
        (name,) = [one for one in files.namelist() if one.endswith(".dist-info/METADATA")]
        return email.message_from_string(files.read(name).decode())


def read_needed(wheels: Iterable[Path]) -> list[str]:
    """Return what the wheels need beside each other, without what is optional."""
    needed = {one for wheel in wheels for one in read_metadata(wheel).get_all("Requires-Dist", [])}
    return sorted(one for one in needed if not one.startswith(OWN) and "extra ==" not in one)


def find_pythons() -> Iterator[str]:
    """Find the interpreters of this host that the wheels are for, each minor version once.

    The distribution's own comes first, then that of the tests.
    """
    seen = set()
    pyenvs = sorted(map(str, Path.home().glob(PYENVS)))
    for name in (DEBIANS, sys.executable, *NAMES, *pyenvs):
        if (path := shutil.which(name)) and (version := ask_version(path)) >= OLDEST:
            # Two builds of one minor version are different machines to a program: see 3.11.2.
            key = version if path in (DEBIANS, sys.executable) else version[:2]
            if key not in seen:
                seen |= {version, version[:2]}
                yield path


def ask_version(python: str) -> tuple[int, ...]:
    """Return the version of an interpreter; () of one that does not start."""
    asked = subprocess.run(
        [python, "-c", "import platform; print(platform.python_version())"],
        capture_output=True,
        text=True,
        check=False,
    )
    digits = asked.stdout.strip().split("+")[0].split(".")
    return tuple(int(part) for part in digits if part.isdigit())


def make_environment(
    folder: Path, wheels: Iterable[Path], python: str, versions: Versions, *others: str
) -> Path:
    """Install wheels, what they need in these versions, and others; returns the interpreter.

    Errors: AssertionError with what uv says.
    """
    wheels = list(wheels)
    run_uv("venv", "--quiet", f"--python={python}", str(folder))
    interpreter = folder / "bin" / "python"
    # uv takes the lowest of what is asked for itself, so all that the wheels need is.
    run_uv(
        "pip",
        "install",
        "--quiet",
        f"--python={interpreter}",
        f"--resolution={versions}",
        *read_needed(wheels),
        *map(str, wheels),
        *others,
    )
    return interpreter


def run_uv(*arguments: str) -> None:
    """Run uv. Errors: AssertionError with what it says."""
    done = subprocess.run(
        [UV, "--no-config", *arguments],
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout
