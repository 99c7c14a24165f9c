"""A machine on a board of QEMU's: its tree, written by QEMU, with services bound to its nodes."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

import virtmesh_client
from tests.support.cli import Cli, eventually, own_folder

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        shutil.which("qemu-system-aarch64") is None, reason="qemu-system-aarch64 is not installed"
    ),
]

MACHINE = """
name = "armboard"
device-tree = "virt.dtb"

[[devices]]
name = "vda"
kind = "blk"
address = 0x0a003e00
options = { image = "disk.img", size = "1M" }

[[devices]]
name = "keyboard"
kind = "input"
address = 0x0a000200
options = { personality = "keyboard" }
"""


def write_tree(cli: Cli) -> None:
    """Have QEMU write the tree of its Arm board, and make the machine file that binds to it."""
    path = cli.folder / "virt.dtb"
    subprocess.run(
        ["qemu-system-aarch64", "-M", f"virt,dumpdtb={path}", "-nographic", "-nodefaults"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    (cli.folder / "board.toml").write_text(MACHINE)


def test_bound_nodes_of_an_arm_board_are_driven() -> None:
    """A disk and a keyboard at the board's addresses and interrupts; the rest is listed."""
    with own_folder() as cli:
        write_tree(cli)
        cli.up("board.toml")
        with virtmesh_client.connect(cli.state.address) as machine:
            eventually(lambda: [one.state for one in machine.devices()] == ["ready", "ready"])
            assert machine.name == "armboard"
            assert [(one.name, one.mmio_address, one.irq) for one in machine.devices()] == [
                ("keyboard", 0x0A00_0200, 32 + 17), ("vda", 0x0A00_3E00, 32 + 47),
            ]  # fmt: skip
            disk = machine.disk("vda")
            disk.write(512, b"on a board" + bytes(502))
            assert disk.read(512, 10) == b"on a board"
            with machine.input("keyboard") as keyboard, keyboard.watch(seconds=60) as watch:
                keyboard.key("a", wait="delivered")
                assert str(next(watch).event) == "KEY_A 1"
        listed = cli("devices", "--all", "--json")
        assert listed.returncode == 0, listed.stderr
        nodes = {one["path"]: one for one in json.loads(listed.stdout)}
        assert nodes["/virtio_mmio@a003e00"]["device"] == "vda"
        assert nodes["/virtio_mmio@a000000"]["fate"] == "unbound"
        assert nodes["/pl011@9000000"]["fate"] == "not understood"
        assert "pl011" in cli("devices", "--all").stdout


def test_a_binding_without_a_node_is_refused_at_the_start() -> None:
    """The message names the nodes that are free."""
    with own_folder() as cli:
        write_tree(cli)
        file = cli.folder / "board.toml"
        file.write_text(MACHINE.replace("0x0a003e00", "0x0a003e01"))
        with pytest.raises(RuntimeError, match="vda is bound to 0xa003e01"):
            cli.up("board.toml")
