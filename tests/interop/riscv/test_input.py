"""evdev of a real kernel: every key and every pointer event arrives as it was sent."""

from __future__ import annotations

import pytest

from tests.support.riscv.boot import INPUTS, Rig
from tests.support.riscv.events import EV_KEY, EV_LED, frozen, reading, write_event
from tests.support.riscv.injecting import codes_of, event_name, info, send
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.channel import open_sync_channel
from virtmesh_common.evdev import CODES, TYPES

EV_REL, EV_ABS = (TYPES[name] for name in ("EV_REL", "EV_ABS"))
CAPSL = CODES["EV_LED"]["LED_CAPSL"]
AT_ONCE = 8
"""Keys that are sent at once: their events fit into the 64 that evdev keeps for a reader."""


@pytest.mark.parametrize("device", INPUTS)
def test_the_guest_finds_the_device_that_the_service_describes(rig: Rig, device: str) -> None:
    """Its name leads to it; bus, vendor, product and version are those of the personality."""
    folder = f"/sys/class/input/{event_name(rig, device)}/device/id"

    ids = rig.guest.run(f"cd {folder}; cat bustype vendor product version; cd /").split()

    assert [int(number, 16) for number in ids] == list(info(rig, device).ids)


@pytest.mark.parametrize("device", INPUTS)
def test_every_key_and_button_arrives(rig: Rig, device: str) -> None:
    """Each that the device has goes down and up; nothing is lost, added or out of order."""
    codes = codes_of(info(rig, device), EV_KEY)
    node = f"/dev/input/{event_name(rig, device)}"

    for start in range(0, len(codes), AT_ONCE):
        some = codes[start : start + AT_ONCE]
        packets = [[(EV_KEY, code, value)] for code in some for value in (1, 0)]
        with reading(rig.guest, node) as reader:
            send(rig, device, packets)
            assert reader.packets(len(packets)) == frozen(packets)


def test_every_relative_axis_arrives(rig: Rig) -> None:
    """Motion and wheels in both directions, in packets of all axes."""
    codes = codes_of(info(rig, "mouse"), EV_REL)
    packets = [[(EV_REL, code, sign * (code + 3)) for code in codes] for sign in (1, -1)]

    with reading(rig.guest, f"/dev/input/{event_name(rig, 'mouse')}") as reader:
        send(rig, "mouse", packets)

        assert reader.packets(len(packets)) == frozen(packets)


def test_every_absolute_axis_arrives_over_its_whole_range(rig: Rig) -> None:
    """Largest, middle and smallest value of each axis of the tablet."""
    axes = [axis for axis in info(rig, "tablet").axes if axis.maximum > axis.minimum]
    packets = [
        [
            (EV_ABS, axis.code, axis.minimum + (axis.maximum - axis.minimum) * part // 2)
            for axis in axes
        ]
        for part in (2, 1, 0)
    ]

    with reading(rig.guest, f"/dev/input/{event_name(rig, 'tablet')}") as reader:
        send(rig, "tablet", packets)

        assert reader.packets(len(packets)) == frozen(packets)


def test_a_light_that_the_guest_sets_goes_on_at_the_device(rig: Rig) -> None:
    """A program writes to the node; the kernel sends it through the status queue, and off again."""
    node = f"/dev/input/{event_name(rig, 'keyboard')}"
    with open_sync_channel(rig.address("keyboard")) as channel:
        watch = InputServiceStub(channel).WatchOutput(pb.WatchOutputRequest())
        before = CAPSL in next(watch).leds_on
        write_event(rig.guest, node, (EV_LED, CAPSL, int(not before)))
        during = CAPSL in next(watch).leds_on
        write_event(rig.guest, node, (EV_LED, CAPSL, int(before)))
        after = CAPSL in next(watch).leds_on
        watch.cancel()

    assert (during, after) == (not before, before)
