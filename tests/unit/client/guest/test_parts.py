"""What guests are started from: kernels, modules, command lines."""

from __future__ import annotations

import lzma
from dataclasses import replace
from pathlib import Path

import pytest

from virtmesh_client.guest.command_lines import BootConfig, GuestConfig, qemu_command, uml_command
from virtmesh_client.guest.devices import check_root
from virtmesh_client.guest.modules import KernelModules
from virtmesh_client.guest.prerequisites import GuestKernel, find_program, find_qemu_kernel
from virtmesh_common.errors import GuestError, GuestPartMissing

BOOT = BootConfig(
    GuestKernel(Path("/kernel"), Path("/modules")), Path("/initramfs"), ("virtmesh_root=vda",)
)


@pytest.fixture
def qemu(tmp_path: Path) -> Path:
    """Make a QEMU that says that it is 7.2."""
    program = tmp_path / "qemu"
    program.write_text("#!/bin/sh\necho QEMU emulator version 7.2.22\n")
    program.chmod(0o755)
    return program


def module(folder: Path, name: str, depends: str, *, packed: bool = False) -> None:
    """Write a module that says what it needs."""
    content = b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0name=x\0"
    (folder / name).write_bytes(lzma.compress(content) if packed else content)


def kernel(root: Path, release: str) -> None:
    """Put a kernel and a folder for its modules where a package puts them."""
    (root / "boot").mkdir(exist_ok=True)
    (root / "boot" / f"vmlinuz-{release}").touch()
    (root / "lib/modules" / release / "kernel").mkdir(parents=True)


def test_modules_come_behind_those_that_they_need(tmp_path: Path) -> None:
    """Dependencies first, each once, "-" and "_" alike, packed files unpacked."""
    module(tmp_path, "virtio_blk.ko", "virtio,virtio_ring")
    module(tmp_path, "virtio-ring.ko.xz", "", packed=True)
    module(tmp_path, "virtio.ko", "virtio_ring")

    order = KernelModules(tmp_path).load_order(["virtio_blk", "virtio", "built_in"])

    assert list(order) == ["virtio_ring", "virtio", "virtio_blk"]
    assert order["virtio_ring"].startswith(b"\x7fELF")


def test_a_module_that_is_missing_is_named(tmp_path: Path) -> None:
    """The error says who needs it."""
    module(tmp_path, "virtio_blk.ko", "virtio")

    with pytest.raises(GuestPartMissing, match="no module virtio, which virtio_blk needs"):
        KernelModules(tmp_path).load_order(["virtio_blk"])


def test_the_newest_kernel_with_modules_is_taken(tmp_path: Path) -> None:
    """By number, not by letter; an image without modules does not count."""
    for release in ("6.1.0-9-cloud-amd64", "6.1.0-10-cloud-amd64"):
        kernel(tmp_path, release)
    (tmp_path / "boot/vmlinuz-6.12").touch()

    found = find_qemu_kernel(tmp_path)

    assert found.image.name == "vmlinuz-6.1.0-10-cloud-amd64"
    assert found.modules == tmp_path / "lib/modules/6.1.0-10-cloud-amd64/kernel"


def test_a_missing_kernel_and_a_missing_program_name_their_package(tmp_path: Path) -> None:
    """Each error has the line that mends it."""
    with pytest.raises(GuestPartMissing, match="apt-get install linux-image-cloud-amd64"):
        find_qemu_kernel(tmp_path)
    with pytest.raises(GuestPartMissing, match="run apt-get install some-package"):
        find_program("no-such-program", "some-package")


def test_qemu_shares_its_memory_and_reconnects_its_disks() -> None:
    """A socket's path may have commas; each disk has the queues and rings that were wanted."""
    config = GuestConfig(disks=(Path("/a,b"),), queues=4, packed=True, qemu="true")

    command = qemu_command(config, BOOT)

    assert "socket,id=blk0,path=/a,,b,reconnect=1" in command
    disk = "vhost-user-blk-pci,disable-legacy=on,chardev=blk0,num-queues=4,packed=on"
    assert disk in command
    assert any("share=on" in word for word in command)
    assert command[-1].endswith(" virtmesh_root=vda")


def test_an_old_qemu_is_refused_input_devices(qemu: Path) -> None:
    """It would need KVM; without inputs, or with KVM, it will do."""
    inputs = GuestConfig(inputs=(Path("/keyboard"),), qemu=str(qemu))

    with pytest.raises(
        GuestError, match=r"QEMU 7\.2 supports vhost-user input devices only with KVM"
    ):
        qemu_command(inputs, BOOT)
    assert qemu_command(GuestConfig(disks=(Path("/vda"),), qemu=str(qemu)), BOOT)
    assert qemu_command(GuestConfig(inputs=inputs.inputs, qemu=str(qemu), kvm=True), BOOT)


def test_user_mode_linux_takes_disks_only() -> None:
    """No input devices, and no path that it would cut at a colon."""
    command = uml_command(GuestConfig(disks=(Path("/vda"), Path("/vdb"))), BOOT)

    assert [word for word in command if word.startswith("virtio_uml")] == [
        "virtio_uml.device=/vda:2",
        "virtio_uml.device=/vdb:2",
    ]
    with pytest.raises(GuestError, match="no driver for input devices"):
        uml_command(GuestConfig(inputs=(Path("/keyboard"),)), BOOT)
    with pytest.raises(GuestError, match="colon"):
        uml_command(GuestConfig(disks=(Path("/a:b"),)), BOOT)


def test_a_script_has_two_more_lines_and_a_quiet_kernel() -> None:
    """Its output and its exit status are files 3 and 4 of either kind of guest."""
    boot = replace(BOOT, script=True)

    uml = uml_command(GuestConfig(), boot)
    qemu = qemu_command(GuestConfig(qemu="true"), boot)

    assert {"con1=null,fd:3", "con2=null,fd:4", "virtmesh_script=tty1,tty2", "quiet"} <= set(uml)
    assert [word for word in qemu if word.startswith("file,")] == [
        "file,id=line3,path=/dev/fd/3",
        "file,id=line4,path=/dev/fd/4",
    ]
    assert "quiet virtmesh_script=ttyS1,ttyS2" in qemu[-1]


@pytest.mark.parametrize("root", ["vdc", "sda", "vda/../x", ""])
def test_a_root_on_a_disk_that_the_guest_does_not_get_is_refused(root: str) -> None:
    """The error names the disks that there are; a partition of one of them will do."""
    check_root("vdb2", 2)

    with pytest.raises(GuestError, match="its disks are vda to vdb"):
        check_root(root, 2)
