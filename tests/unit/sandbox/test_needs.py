"""What a service needs of its sandbox, found in its options."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from virtmesh.kernel.program import serving_needs
from virtmesh.sandbox import Access, Needs, needs_of_paths, ports_in, socket_folders


def test_ports_are_found_in_values_and_in_tuples_of_them() -> None:
    """Of IPv4, IPv6 and names; nothing else has one."""
    values = ("127.0.0.1:5", ("[::1]:6", "unix:/a:7"), ["host:8"], None, 9, "a b:1", "h:70000")

    assert ports_in(values) == (5, 6, 8)


def test_sockets_are_made_in_the_folders_of_unix_addresses(tmp_path: Path) -> None:
    """Whole paths, since a service may go elsewhere."""
    values = (f"unix:{tmp_path}/a.sock", ("unix:b.sock", "h:1"))

    assert socket_folders(values) == (
        (tmp_path, Access.SOCKETS),
        (Path.cwd(), Access.SOCKETS),
    )


def test_paths_of_options_are_written_and_missing_ones_made(tmp_path: Path) -> None:
    """A folder is read."""
    there = tmp_path / "there"
    there.write_text("")

    needs = needs_of_paths((there, tmp_path, tmp_path / "missing"))

    assert needs.paths == [
        (there, Access.WRITE),
        (tmp_path, Access.READ),
        (tmp_path, Access.CREATE),
    ]


def test_needs_add_up() -> None:
    """All ports and some ports are all ports."""
    one = Needs(bind=(1,), connect=(2,), ioctls=(3,))
    other = Needs(bind=(4,), connects=True, connect=None, system_calls=("x",))

    assert one + other == Needs(
        bind=(1, 4), connects=True, connect=None, system_calls=("x",), ioctls=(3,)
    )


def test_a_kernel_connects_to_the_ports_of_its_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """To all, if there are proxies: their ports are not looked for."""
    for name in [one for one in os.environ if one.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    assert serving_needs((), ["unix:a", "host:5"]).connect == (5,)
    assert serving_needs((), ["unix:a"]).connect == ()

    monkeypatch.setenv("https_proxy", "http://proxy:8080")
    assert serving_needs((), ["unix:a", "host:5"]).connect is None
    assert serving_needs((), ["unix:a"]).connect == ()


@pytest.mark.parametrize("safe", [True, False])
def test_the_working_folder_is_no_code(tmp_path: Path, *, safe: bool) -> None:
    """Python's path may begin with it; it counts when a module was loaded from it."""
    program = (
        "from virtmesh.sandbox.readable import readable_paths;print(*readable_paths(), sep='\\n')"
    )
    options = ["-P"] if safe else []
    done = subprocess.run(
        [sys.executable, *options, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    paths = {Path(line) for line in done.stdout.splitlines()}
    assert tmp_path not in paths
    assert not {Path("/"), Path.home(), Path("/etc"), Path("/proc")} & paths
    assert Path(os.__file__).parent in paths


def test_code_that_was_loaded_from_a_folder_may_be_read_later(tmp_path: Path) -> None:
    """Such as a kind of device in a folder of PYTHONPATH."""
    (tmp_path / "loaded_from_here.py").write_text("")
    program = (
        "import loaded_from_here;"
        "from virtmesh.sandbox.readable import readable_paths;"
        "print(*readable_paths(), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert str(tmp_path) in done.stdout.splitlines()


def test_code_that_was_loaded_after_a_look_may_be_read_too(tmp_path: Path) -> None:
    """A template looks for all of its forks: one of them loads a kind from elsewhere."""
    (tmp_path / "loaded_from_here.py").write_text("")
    program = (
        "from virtmesh.sandbox.readable import readable_paths;"
        "before = readable_paths();"
        "import loaded_from_here;"
        "print(*(set(readable_paths()) - set(before)), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines() == [str(tmp_path)]
