"""Kinds are found by one rule, in this process and in those that it starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from virtmesh.host.main import main
from virtmesh.kinds import all_kinds, broken_kinds, find_kind, finding, kind_names, kind_of
from virtmesh_common.errors import BadMachine

KIND = """
from virtmesh.kinds import DeviceKind

KIND = DeviceKind(name={name!r}, title={title!r}, make=print, virtio_device_id=4)
"""

Write = Callable[..., Path]


def forget() -> None:
    """Forget which kinds there are."""
    finding.packages.cache_clear()
    finding.load.cache_clear()
    for name in [name for name in sys.modules if name.startswith(finding.PREFIX + "toy")]:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Return what writes the package of a kind into a folder on Python's path."""

    def write(package: str, text: str, folder: str = "path") -> Path:
        place = tmp_path / folder / package
        place.mkdir(parents=True)
        (place / "__init__.py").write_text("")
        (place / "kind.py").write_text(text)
        if str(place.parent) not in sys.path:
            monkeypatch.syspath_prepend(str(place.parent))
        forget()
        return place.parent

    yield write
    forget()


def help_of(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `virtmesh-device` in a process of its own, with a folder in PYTHONPATH."""
    return subprocess.run(
        [sys.executable, "-m", "virtmesh.host.main", *arguments],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_package_on_the_path_is_a_kind(write: Write) -> None:
    """Its name is that of the package, without what it begins with."""
    write("virtmesh_toy", KIND.format(name="toy", title="A toy."))

    assert kind_names() == ("blk", "gpu", "input", "toy", "uart")
    assert find_kind("toy").title == "A toy."
    assert find_kind("toy") in all_kinds()
    assert kind_of(("virtio,mmio",), 4) is find_kind("toy")


def test_an_underscore_in_the_package_is_a_dash_in_the_name(write: Write) -> None:
    """Names of kinds are written in machine files and on command lines."""
    write("virtmesh_toy_box", KIND.format(name="toy-box", title="A box."))

    assert find_kind("toy-box").title == "A box."


def test_a_process_finds_what_its_environment_has(write: Write) -> None:
    """The help of `virtmesh-device` lists the kind, with its title."""
    folder = write("virtmesh_toy", KIND.format(name="toy", title="A toy."))

    done = help_of(folder, "--help")

    assert done.returncode == 0
    named = re.findall(r"^  (\S+) ", done.stdout.partition("Commands:")[2], re.MULTILINE)
    assert named == ["blk", "gpu", "input", "toy", "uart"]
    assert "A toy." in done.stdout


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("raise OSError('no such chip')", "importing virtmesh_toy.kind fails with OSError: no"),
        ("import virtmesh_toy.nothing", "ModuleNotFoundError"),
        ("def (", "SyntaxError"),
        ("", "virtmesh_toy.kind.KIND must be a DeviceKind named 'toy'"),
        ("KIND = 'toy'", "must be a DeviceKind named 'toy'"),
        (KIND.format(name="game", title="A game."), "must be a DeviceKind named 'toy'"),
    ],
)
def test_a_broken_kind_takes_no_other_with_it(write: Write, text: str, why: str) -> None:
    """Who asks for it by name hears what is wrong with it; the others are there."""
    write("virtmesh_toy", text)

    assert [kind.name for kind in all_kinds()] == ["blk", "gpu", "input", "uart"]
    assert list(broken_kinds()) == ["toy"]
    with pytest.raises(BadMachine, match="the kind toy can't be used") as caught:
        find_kind("toy")
    assert why in caught.value.message


def test_a_broken_kind_is_a_command_that_says_so(write: Write) -> None:
    """In the help of a process of its own, and when its command is given."""
    folder = write("virtmesh_toy", "raise OSError('no such chip')")

    shown = help_of(folder, "--help")
    asked = help_of(folder, "toy", "--name", "toy", "--listen", "unix:/nowhere")
    other = help_of(folder, "uart", "--help")

    assert shown.returncode == 0
    assert "its package is broken" in shown.stdout
    assert asked.returncode == 1
    assert "the kind toy can't be used" in asked.stderr
    assert "no such chip" in asked.stderr
    assert "--auto-flow" in other.stdout


def test_of_two_packages_the_first_on_the_path_is_taken(write: Write) -> None:
    """As for any package of Python."""
    write("virtmesh_toy", KIND.format(name="toy", title="The last."), folder="last")
    write("virtmesh_toy", KIND.format(name="toy", title="The first."), folder="first")

    assert find_kind("toy").title == "The first."


def test_of_two_packages_the_one_inside_virtmesh_is_taken(write: Write) -> None:
    """Nobody takes a kind of the distribution away by a package of its name."""
    write("virtmesh_blk", KIND.format(name="blk", title="No disk."))

    assert find_kind("blk").title.startswith("The virtio block device")


def test_a_folder_without_a_module_kind_is_none(write: Write) -> None:
    """Such as virtmesh_native, virtmesh_client and virtmesh_common."""
    (write("virtmesh_toy", "") / "virtmesh_toy" / "kind.py").unlink()
    forget()

    assert kind_names() == ("blk", "gpu", "input", "uart")


def test_a_name_that_no_kind_has_is_refused() -> None:
    """With the names that there are."""
    with pytest.raises(
        BadMachine, match="no kind of device is named 'toaster': there are blk, gpu"
    ):
        find_kind("toaster")
    assert isinstance(main, click.Group)
    assert "No such command 'toaster'" in CliRunner().invoke(main, ["toaster"]).output
