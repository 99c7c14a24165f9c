"""`virtmesh guest image`, and what it refuses."""

from __future__ import annotations

import json

import pytest

from tests.support.cli import Cli


def test_an_image_that_is_too_small_leaves_everything_as_it_was(cli: Cli) -> None:
    """The error says what its files take; the old image is kept, and nothing is left behind."""
    (cli.folder / "root.img").write_text("old")

    ran = cli("guest", "image", "root.img", "--size", "1M", "--force")

    assert ran.returncode == 1
    assert "do not fit into a file system of 1024 KiB" in ran.stderr
    assert "choose a larger --size" in ran.stderr
    assert (cli.folder / "root.img").read_text() == "old"
    assert [path.name for path in cli.folder.iterdir()] == ["root.img"]


def test_an_image_is_described_as_json(cli: Cli) -> None:
    """Path and size."""
    ran = cli("guest", "image", "root.img", "--size", "8M", "--json")

    assert json.loads(ran.stdout) == {"image": "root.img", "size_bytes": 8 << 20}
    assert (cli.folder / "root.img").stat().st_size == 8 << 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere/root.img",), "virtmesh: nowhere: the folder does not exist: make it first\n"),
        ((".", "--force"), "virtmesh: .: this is a folder: give the path of a file\n"),
        (
            ("root.img", "--with", "no-such"),
            "virtmesh: the program 'no-such' is not on this host: install it, or give its path\n",
        ),
    ],
)
def test_what_an_image_can_not_be_made_of_is_said(
    arguments: tuple[str, ...], message: str, cli: Cli
) -> None:
    """In one line, with the mend; nothing is made."""
    ran = cli("guest", "image", *arguments)

    assert (ran.returncode, ran.stderr) == (1, message)
    assert list(cli.folder.iterdir()) == []
