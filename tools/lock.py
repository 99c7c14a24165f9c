"""Lock the dependencies of pyproject.toml in requirements/, with hashes, or check the locks.

Usage: python tools/lock.py [--check | --upgrade]

Versions locked already are kept where they still fit; --upgrade takes the newest ones. virtmesh's
own native extension is left out: it is built from native/, and no index may offer one in its place.
--check needs no network: each lock says which requirements it was made for.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
HEADER = "# Made by `make lock` from pyproject.toml; do not edit. Requirements: sha256 "
UV = Path(sys.executable).with_name("uv")
OLDEST_PYTHON = "3.11"
OWN = "virtmesh-"
DISTRIBUTIONS = ("common", "clients", "services")
BUILD_TOOLS = ("hatchling", "maturin")
ALONE = "protos"
"""The lock of tools/protos.py, whose packages never meet the others."""


def read_requirements() -> dict[str, list[str]]:
    """Return the direct requirements of each lock, the lock that the others follow first."""
    run = {
        requirement
        for folder in DISTRIBUTIONS
        for requirement in read_toml(folder)["project"]["dependencies"]
    }
    host = sorted(requirement for requirement in run if not requirement.startswith(OWN))
    of_panel = read_toml("clients")["project"]["optional-dependencies"]["panel"]
    groups = read_toml(".")["dependency-groups"]
    extras = {
        requirement
        for folder in DISTRIBUTIONS
        for extra in read_toml(folder)["project"].get("optional-dependencies", {}).values()
        for requirement in extra
    }
    dev = sorted({*groups["dev"], *extras})
    build = [requirement for requirement in dev if requirement.startswith(BUILD_TOOLS)]
    return {
        "dev": sorted([*host, *dev]),
        "host": host,
        "panel": sorted({*host, *of_panel}),
        "build": build,
        ALONE: groups["protos"],
    }


def read_toml(folder: str) -> dict[str, Any]:
    """Return the pyproject.toml of a folder."""
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())


def make_header(requirements: list[str]) -> str:
    """Return the first line of the lock of these requirements."""
    return HEADER + hashlib.sha256("\n".join(requirements).encode()).hexdigest()


def compile_lock(name: str, requirements: list[str], options: list[str]) -> None:
    """Resolve the requirements and write the lock. Errors: CalledProcessError."""
    lock = LOCKS / f"{name}.lock"
    if name == ALONE:
        options = [*options, "--no-deps"]
    elif name != "dev":
        options = [*options, "--constraint", str(LOCKS / "dev.lock")]
    subprocess.run(
        [
            UV,
            "pip",
            "compile",
            "--quiet",
            "--universal",
            f"--python-version={OLDEST_PYTHON}",
            "--generate-hashes",
            "--no-header",
            "--no-annotate",
            *options,
            f"--output-file={lock}",
            "-",
        ],
        input="\n".join(requirements),
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    lock.write_text(f"{make_header(requirements)}\n{lock.read_text()}")


def is_current(name: str, requirements: list[str]) -> bool:
    """Say whether the lock was made for just these requirements."""
    lock = LOCKS / f"{name}.lock"
    return lock.exists() and lock.read_text().startswith(make_header(requirements) + "\n")


def main() -> int:
    """Write the locks, or with --check return 1 when one was made for other requirements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="compare, write nothing")
    action.add_argument("--upgrade", action="store_true", help="take the newest versions")
    arguments = parser.parse_args()
    wanted = read_requirements()
    if arguments.check:
        stale = [
            f"requirements/{name}.lock" for name in wanted if not is_current(name, wanted[name])
        ]
        if stale:
            print(
                f"{', '.join(stale)}: stale: run `make lock` and commit the result", file=sys.stderr
            )
        return 1 if stale else 0
    for name, requirements in wanted.items():
        compile_lock(name, requirements, ["--upgrade"] if arguments.upgrade else [])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
