"""The options of the plugin, on the command line and in pytest's configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

import pytest

if TYPE_CHECKING:
    from pathlib import Path

Scope: TypeAlias = Literal["function", "class", "module", "package", "session"]
SCOPES = get_args(Scope)
FOLDER = "virtmesh-failures"
OPTIONS = {
    "machine": ("FILE", "Machine file: the fixture `machine` starts it in a folder of its own."),
    "address": ("ADDR", "Address of a machine that runs: unix:PATH or HOST:PORT."),
    "scope": (
        "|".join(SCOPES),
        "How long a started machine, or a connection, lives (default: function).",
    ),
    "artefacts": ("DIR", f"Folder for what belongs to failed tests (default: {FOLDER})."),
}
"""By name: --virtmesh-NAME on the command line, virtmesh_NAME in the configuration file."""


@dataclass(frozen=True)
class Wish:
    """What the options ask for. Paths are absolute."""

    machine: Path | None
    address: str | None
    artefacts: Path


def add_options(parser: pytest.Parser) -> None:
    """Add the options, for the command line and for the configuration file."""
    group = parser.getgroup("virtmesh", "virtual hardware (virtmesh)")
    for name, (metavar, text) in OPTIONS.items():
        choices = {"choices": SCOPES} if name == "scope" else {"metavar": metavar}
        group.addoption(f"--virtmesh-{name}", default=None, help=text, **choices)
        parser.addini(f"virtmesh_{name}", text, default=None)


def find_scope(fixture_name: str, config: pytest.Config) -> Scope:  # noqa: ARG001 - pytest's
    """Return the scope of the fixture. Errors: UsageError."""
    scope = read_option(config, "scope") or "function"
    if scope not in SCOPES:
        raise pytest.UsageError(f"virtmesh_scope = {scope}: it is one of {', '.join(SCOPES)}")
    return cast("Scope", scope)


def read_option(config: pytest.Config, name: str) -> str | None:
    """Return an option of the command line or of the configuration file; None without."""
    value = config.getoption(f"virtmesh_{name}") or config.getini(f"virtmesh_{name}")
    return str(value) if value else None


def read_path(config: pytest.Config, name: str) -> Path | None:
    """Return a path: relative to the working folder, or to the configuration file that has it."""
    if given := config.getoption(f"virtmesh_{name}"):
        return config.invocation_params.dir / str(given)
    if given := config.getini(f"virtmesh_{name}"):
        return (config.inipath.parent if config.inipath else config.rootpath) / str(given)
    return None


def read_wish(config: pytest.Config) -> Wish:
    """Return what is asked for. The command line goes before the configuration file."""
    artefacts = read_path(config, "artefacts") or config.rootpath / FOLDER
    if config.getoption("virtmesh_address"):
        return Wish(None, read_option(config, "address"), artefacts)
    file = read_path(config, "machine")
    return Wish(file, None if file else read_option(config, "address"), artefacts)


def count_workers(config: pytest.Config) -> int:
    """Return how many processes of pytest-xdist run the tests."""
    given: dict[str, Any] = getattr(config, "workerinput", {})
    return int(given.get("workercount", 1))
