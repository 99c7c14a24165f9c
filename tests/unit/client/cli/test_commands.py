"""The command line against a kernel with disks in memory: results, JSON, errors, exit statuses."""

from __future__ import annotations

import base64
import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

from virtmesh_client.cli.run import run
from virtmesh_client.cli.show import show_table
from virtmesh_client.testing import FakeKernel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Outcome = tuple[int, str, str]

SIZE = 4 << 20


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeKernel]:
    """Start a kernel with the disk vda: the machine that commands use."""
    monkeypatch.delenv("VIRTMESH_RUN_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with FakeKernel(vda=SIZE) as kernel:
        monkeypatch.setenv("VIRTMESH_ADDRESS", kernel.address)
        yield kernel


class Shell:
    """Runs command lines in this process."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: object) -> Outcome:
        """Return exit status, standard output and standard error."""
        status = run([str(argument) for argument in arguments])
        output = self._capture.readouterr()
        return status, output.out, output.err


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str]) -> Shell:
    """Return a shell whose descriptors are captured."""
    return Shell(capfd)


@pytest.mark.usefixtures("kernel")
def test_devices_are_listed(shell: Shell) -> None:
    """One row for each, with its state."""
    status, out, _ = shell("devices")
    assert status == 0
    assert out.splitlines()[1].split()[:4] == ["vda", "ready", "0x10001000", "1"]


@pytest.mark.usefixtures("kernel")
def test_facts_fit_a_terminal(shell: Shell) -> None:
    """Each feature has a line: all of them together are wider than any terminal."""
    status, out, _ = shell("blk", "info", "vda")
    assert status == 0
    features = [line.split()[-1] for line in out.splitlines() if "_F_" in line]
    assert len(features) > 1
    assert all(line.count("_F_") <= 1 for line in out.splitlines())


def test_a_table_keeps_addresses_whole_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """So that they can be copied."""
    address = f"unix:/run/{'long/' * 20}vda.sock"
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show_table(("NAME", "ADDRESS"), [("vda", address)])
    assert address in capfd.readouterr().out


@pytest.mark.usefixtures("kernel")
def test_nothing_of_a_disk_that_is_not_there_is_an_error(shell: Shell, tmp_path: Path) -> None:
    """Not an empty file."""
    target = tmp_path / "out.img"
    status, _, err = shell("blk", "export", "vdz", target, "--length", "0")
    assert status == 1
    assert "vdz" in err
    assert not target.exists()


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--json", "blk", "info", "vda"],
        ["blk", "--json", "info", "vda"],
        ["blk", "info", "vda", "--json"],
    ],
)
def test_json_may_stand_anywhere(shell: Shell, arguments: list[str]) -> None:
    """Before and after each word of the command."""
    status, out, _ = shell(*arguments)
    assert status == 0
    assert json.loads(out)["capacity_bytes"] == SIZE


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["blk", "info", "vda"], "block_size_bytes"),
        (["blk", "stats", "vda"], "requests"),
        (["blk", "flush", "vda"], "device"),
        (["blk", "discard", "vda", "--offset", "0", "--length", "4K"], "length_bytes"),
        (["blk", "zero", "vda", "--offset", "0", "--length", "4K"], "length_bytes"),
        (["blk", "resize", "vda", "8M"], "previous_capacity_bytes"),
        (["blk", "read-only", "vda", "off"], "read_only"),
        (["blk", "read", "vda", "--length", "16"], "data_base64"),
        (["completion", "bash"], "script"),
    ],
)
def test_each_command_speaks_json(shell: Shell, arguments: list[str], key: str) -> None:
    """With keys that stay."""
    status, out, err = shell(*arguments, "--json")
    assert (status, err) == (0, "")
    assert key in json.loads(out)


def test_a_file_is_imported_and_exported(kernel: FakeKernel, shell: Shell, tmp_path: Path) -> None:
    """The export is what was imported, and the sums agree."""
    source, target = tmp_path / "in.img", tmp_path / "out.img"
    source.write_bytes(bytes(range(256)) * (SIZE // 256))
    status, out, _ = shell("blk", "import", "vda", source, "--verify", "--json")
    imported = json.loads(out)
    assert (status, imported["bytes"], imported["verified"]) == (0, SIZE, True)
    status, out, _ = shell("blk", "export", "vda", target, "--json")
    assert (status, json.loads(out)["sha256"]) == (0, imported["sha256"])
    assert target.read_bytes() == source.read_bytes()
    assert kernel.disks["vda"].requests["FLUSH"] == 1


@pytest.mark.usefixtures("kernel")
def test_a_range_is_written_and_read(shell: Shell, tmp_path: Path) -> None:
    """At any offset."""
    source = tmp_path / "piece"
    source.write_bytes(b"a piece of data")
    assert shell("blk", "write", "vda", source, "--offset", "0x1001")[0] == 0
    status, out, _ = shell("blk", "read", "vda", "--offset", "0x1001", "--length", 15, "--json")
    assert status == 0
    assert base64.b64decode(json.loads(out)["data_base64"]) == b"a piece of data"


def test_a_hex_dump_folds_rows_that_repeat(kernel: FakeKernel, shell: Shell) -> None:
    """As hexdump -C does."""
    kernel.disks["vda"].data[:4] = b"virt"
    status, out, _ = shell("blk", "read", "vda", "--length", "1K", "--hex")
    assert status == 0
    assert out.splitlines() == [
        "00000000  76 69 72 74 00 00 00 00  00 00 00 00 00 00 00 00  |virt............|",
        "00000010  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|",
        "*",
        "00000400",
    ]


BAD: list[tuple[list[str], int, str, str]] = [
    (["blk", "info", "vdx"], 1, "DEVICE_NOT_FOUND", "`virtmesh devices` lists the devices"),
    (["blk", "read", "vda", "--offset", "4M", "--length", "1"], 1, "PAST_END", "blk resize"),
    (["blk", "discard", "vda", "--offset", "1", "--length", "512"], 1, "UNALIGNED", "512"),
    (["blk", "resize", "vda", "1M"], 1, "WOULD_SHRINK", "--shrink allows it"),
    (["blk", "resize", "vda", "1000"], 1, "BAD_SIZE", "multiple of 512"),
    (["blk", "resize", "vda", "much"], 2, "USAGE", "write 64M, 1GiB"),
    (["blk", "import", "vda", "missing.img"], 1, "OS_ERROR", "missing.img: No such file"),
    (["blk", "frobnicate"], 2, "USAGE", "see virtmesh blk --help"),
    (["blk", "info"], 2, "USAGE", "Missing argument"),
    (["--address", "nonsense", "devices"], 2, "USAGE", "write unix:PATH or HOST:PORT"),
    (["--address", "unix:/nowhere.sock", "devices"], 3, "SERVICE_UNAVAILABLE", "no socket"),
    (["up", "missing.toml"], 1, "BAD_MACHINE", "missing.toml"),
    (["up", "a.toml", "--disk", "b.img"], 2, "USAGE", "not both"),
    (["down", "nobody"], 1, "BAD_MACHINE", "virtmesh status"),
]


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("case", BAD, ids=lambda case: " ".join(case[0]))
def test_an_error_is_one_line_with_its_mend(
    shell: Shell, case: tuple[list[str], int, str, str]
) -> None:
    """And the documented exit status; with --json it is one object."""
    arguments, expected, reason, mend = case
    status, out, err = shell(*arguments)
    assert status == expected
    assert err.startswith("virtmesh: ")
    assert err.count("\n") == 1
    assert mend in err
    assert out == ""

    status, out, err = shell(*arguments, "--json")
    error = json.loads(err)["error"]
    assert (status, error["exit_status"], error["reason"], out) == (expected, expected, reason, "")


@pytest.mark.usefixtures("kernel")
def test_an_error_can_not_move_the_cursor(shell: Shell) -> None:
    """Whatever a service, a file or the command line says in it."""
    _, _, err = shell("blk", "import", "vda", "\x1b[2Jgone\x9b")
    assert err.startswith("virtmesh: ?[2Jgone?: No such file")
    _, _, err = shell("blk", "import", "vda", "\x1b[2Jgone\x9b", "--json")
    assert json.loads(err)["error"]["message"].startswith("\x1b[2Jgone\x9b: ")


def test_a_source_that_does_not_fit_is_refused_before_anything_is_written(
    kernel: FakeKernel, shell: Shell, tmp_path: Path
) -> None:
    """The error says how large the disk must be."""
    source = tmp_path / "big.img"
    source.write_bytes(b"x" * (SIZE + 1))
    status, _, err = shell("blk", "import", "vda", source)
    assert status == 1
    assert f"resize it to at least {SIZE + 1}" in err
    assert not kernel.disks["vda"].requests["OUT"]


def test_a_group_without_a_command_shows_its_help(shell: Shell) -> None:
    """As it is laid out, not in one line; and it is wrong usage."""
    status, out, err = shell("blk")
    assert (status, out) == (2, "")
    assert re.search(r"\n  import +Copy FILE to a disk\.\n", err)


def test_a_container_is_not_imported_unless_it_is_said_to_be_raw(
    kernel: FakeKernel, shell: Shell, tmp_path: Path
) -> None:
    """Its bytes are not those of the disk in it; the error has the command that mends it."""
    source = tmp_path / "vm.img"
    source.write_bytes(b"QFI\xfb\0\0\0\3".ljust(4096, b"\0"))
    status, _, err = shell("blk", "import", "vda", source)
    assert status == 1
    assert f"qemu-img convert -f qcow2 -O raw {source} {tmp_path / 'vm.raw'}" in err
    assert kernel.disks["vda"].data[:4] == bytes(4)
    assert shell("blk", "import", "vda", source, "--format", "raw")[0] == 0
    assert kernel.disks["vda"].data[:4] == b"QFI\xfb"


@pytest.mark.usefixtures("kernel")
def test_a_read_only_disk_takes_no_import(shell: Shell, tmp_path: Path) -> None:
    """The mend is the command that makes it writable."""
    source = tmp_path / "small.img"
    source.write_bytes(b"x")
    assert shell("blk", "read-only", "vda")[0] == 0
    status, _, err = shell("blk", "import", "vda", source)
    assert status == 1
    assert "read-only" in err
    assert "`virtmesh blk read-only DEVICE off`" in err


def test_an_import_whose_device_dies_says_what_is_written(
    kernel: FakeKernel, shell: Shell, tmp_path: Path
) -> None:
    """In the line and, with --json, as numbers."""
    source = tmp_path / "whole.img"
    source.write_bytes(b"x" * SIZE)
    kernel.disks["vda"].lose_after_bytes = 2 << 20
    status, _, err = shell("blk", "import", "vda", source)
    assert status == 1
    assert f"{2 << 20} of {SIZE} bytes are written, from offset 0 on" in err
    _, _, err = shell("blk", "import", "vda", source, "--json")
    facts = json.loads(err)["error"]["metadata"]
    assert (facts["written_bytes"], facts["length_bytes"]) == (str(2 << 20), str(SIZE))


def test_an_export_whose_device_dies_leaves_no_file(
    kernel: FakeKernel, shell: Shell, tmp_path: Path
) -> None:
    """Not even a temporary one."""
    kernel.disks["vda"].lose_after_bytes = 2 << 20
    status, _, err = shell("blk", "export", "vda", tmp_path / "out.img")
    assert status == 1
    assert f"{2 << 20} of {SIZE} bytes are read" in err
    assert not list(tmp_path.glob("*.img*"))
    assert not list(tmp_path.glob(".*partial"))


def test_a_disk_that_returns_other_bytes_fails_the_verification(
    kernel: FakeKernel, shell: Shell, tmp_path: Path
) -> None:
    """What --verify is for."""
    source = tmp_path / "small.img"
    source.write_bytes(b"x" * 4096)
    kernel.disks["vda"].corrupt = True
    status, _, err = shell("blk", "import", "vda", source, "--verify")
    assert status == 1
    assert "verification of vda failed: data read back differs" in err


@pytest.mark.usefixtures("kernel")
def test_an_existing_file_is_not_replaced_without_force(shell: Shell, tmp_path: Path) -> None:
    """The mend names the option."""
    target = tmp_path / "out.img"
    target.write_bytes(b"mine")
    status, _, err = shell("blk", "export", "vda", target)
    assert status == 1
    assert "--force replaces a file" in err
    assert shell("blk", "export", "vda", target, "--force")[0] == 0
    assert target.stat().st_size == SIZE


@pytest.mark.usefixtures("kernel")
def test_json_does_not_hold_a_whole_disk(shell: Shell) -> None:
    """A read with --json needs a length."""
    status, _, err = shell("blk", "read", "vda", "--json")
    assert status == 2
    assert "--length" in json.loads(err)["error"]["message"]


@pytest.mark.usefixtures("kernel")
def test_quiet_says_nothing(shell: Shell, tmp_path: Path) -> None:
    """Unless something is wrong."""
    source = tmp_path / "small.img"
    source.write_bytes(b"x")
    assert shell("blk", "import", "vda", source, "-q") == (0, "", "")


@pytest.mark.parametrize(
    ("name", "word"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")]
)
def test_each_shell_has_a_completion_script(shell: Shell, name: str, word: str) -> None:
    """Ready to be evaluated."""
    status, out, _ = shell("completion", name)
    assert status == 0
    assert word in out


def test_the_version_is_shown(shell: Shell) -> None:
    """On standard output."""
    status, out, _ = shell("--version")
    assert status == 0
    assert out.startswith("virtmesh, version ")


def test_help_cuts_no_summary(shell: Shell) -> None:
    """Each command has one line of eighty characters."""
    _, shown, _ = shell("--help")
    commands = shown.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(commands) >= 13
    assert [line for line in commands if not line.endswith(".") or line.endswith("...")] == []
