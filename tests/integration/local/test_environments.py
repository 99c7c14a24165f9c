"""A machine goes up in environments that are not a developer's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.cli import Cli

pytestmark = pytest.mark.processes

CONFINED = ("sh", "-c", 'umask 077; ulimit -n 256; exec "$@"', "sh")
"""Runs a command with few descriptors, whose files are private."""


def test_a_machine_goes_up_in_a_bare_environment(cli: Cli) -> None:
    """No home, an ASCII locale, another time zone, a folder with spaces; few descriptors."""
    cli.wrapper = CONFINED
    cli.folder = cli.folder / "a b ü"
    cli.folder.mkdir()
    cli.environment |= {"HOME": "/nonexistent", "LC_ALL": "C", "TZ": "Asia/Kathmandu"}

    cli.up("--disk", "disk ü.img,size=1M", "--input", "keyboard")
    typed = cli("input", "key", "a", "--wait", "delivered")
    stopped = cli("down")

    assert typed.returncode == 0, typed.stderr
    assert stopped.returncode == 0, stopped.stderr


def test_a_name_that_is_no_text_is_refused(cli: Cli) -> None:
    """A machine file can't hold it."""
    refused = cli("up", "--detach", "--disk", "disk\udcff.img,size=1M")

    assert refused.returncode == 1
    assert "not UTF-8" in refused.stderr
