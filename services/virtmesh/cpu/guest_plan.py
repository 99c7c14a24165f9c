"""What a guest boots from, and how it is run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh.cpu.images.layout import ImagePaths, Layout, Ram, make_layout
from virtmesh.cpu.tree import Boot, make_guest_blob
from virtmesh_common.memory_map import RAM_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from virtmesh.machine import Machine


@dataclass(frozen=True)
class GuestPlan:
    """What is to be run, and how."""

    images: ImagePaths
    arguments: str = ""
    """The kernel command line."""
    time: str = "real"
    """"real" or "instructions": what the guest's clock follows."""
    plic: str = "spec"
    """"spec" or "qemu": how the interrupt controller takes lines."""
    quirks: Mapping[str, str] = field(default_factory=dict)
    """"lenient" or "legacy", by name of a virtio device (Board.add_slot)."""
    serial_8n1: bool = False
    """Set serial ports to 8N1 before the guest runs, as a boot ROM does."""
    halted: bool = False
    """Wait for Start before the first instruction."""


def read_images(machine: Machine, plan: GuestPlan) -> Layout:
    """Read the images, and place them and the device tree. Errors: BadImage, BadMachine."""
    return make_layout(
        Ram(RAM_ADDRESS, machine.memory),
        plan.images,
        lambda initrd: make_guest_blob(machine, Boot(plan.arguments, initrd)),
    )
