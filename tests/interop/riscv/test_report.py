"""`virtmesh report` of unmodified kernels: docs/report.md tells each finding, checked by hand."""

from __future__ import annotations

import json

from tests.interop.riscv.test_disk import SECTOR, administration
from tests.support.riscv.boot import INPUTS, Rig
from tests.support.riscv.events import EV_KEY, EV_LED, frozen, reading, write_event
from tests.support.riscv.injecting import event_name, send
from tests.support.riscv.report import read_report
from tests.support.riscv.writing import write_files
from virtmesh_common.api.block.v1 import block_pb2 as pb
from virtmesh_common.evdev import CODES

CAPSL = CODES["EV_LED"]["LED_CAPSL"]
DEVICES = ("serial", "vda", *INPUTS, "board")
MODULES = 0xFFFF_FFFF_0000_0000
"""Above it Linux has its modules, virtio_mmio among them."""


def test_opensbi_and_debians_kernel_break_no_rule(rig: Rig) -> None:
    """From the reset on: boot, disk work, a live resize, input and lights, whatever came before."""
    work(rig)

    found, status = read_report(rig.cli)
    accesses = rig.cli("trace", "-d", "vda", "--kinds", "cpu_access", "--json").stdout.splitlines()

    assert (found, status) == ({name: {} for name in DEVICES}, 0)
    # The kernel was looked at: code of its modules made the accesses.
    assert any(json.loads(line)["pc"] >= MODULES for line in accesses)


def work(rig: Rig) -> None:
    """Use every device that the guest has."""
    write_files(rig.guest)
    with administration(rig) as disk:
        size = disk.GetInfo(pb.GetInfoRequest()).capacity_bytes + (4 << 20)
        disk.Resize(pb.ResizeRequest(capacity_bytes=size))
    sectors = size // SECTOR
    rig.guest.run(f'until [ "$(cat /sys/block/vda/size)" = {sectors} ]; do usleep 1000; done')
    node = f"/dev/input/{event_name(rig, 'keyboard')}"
    strokes = [[(EV_KEY, CODES["EV_KEY"]["KEY_A"], value)] for value in (1, 0)]
    with reading(rig.guest, node) as reader:
        send(rig, "keyboard", strokes)
        assert reader.packets(len(strokes)) == frozen(strokes)
    write_event(rig.guest, node, (EV_LED, CAPSL, 1))
