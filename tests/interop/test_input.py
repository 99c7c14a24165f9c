"""A real kernel's keyboard, mouse and tablet: what evdev says is what was sent."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.guest import Boot, Guest
from virtmesh_client import Machine, connect
from virtmesh_client.guest.hardware import QMP_SOCKET
from virtmesh_client.guest.qmp import Qmp
from virtmesh_client.input.models import Axis
from virtmesh_common.evdev import CODES, TYPES

EV_SYN, EV_KEY, EV_REL, EV_ABS, EV_LED = (
    TYPES[name] for name in ("EV_SYN", "EV_KEY", "EV_REL", "EV_ABS", "EV_LED")
)
CAPS_LOCK = CODES["EV_LED"]["LED_CAPSL"]
DEVICES = ("keyboard", "mouse", "tablet")
SYN = (EV_SYN, 0, 0)
EVENT = re.compile(
    r"^Event: time [\d.]+, (?:type (\d+) \([^)]*\), code (\d+) \([^)]*\), value (-?\d+)"
    r"|-+ SYN_REPORT)",
    re.MULTILINE,
)
"""What evtest says of an event."""
REPEATED = re.compile(
    r"^Event: [^\n]*\(EV_KEY\)[^\n]* value 2\r*\nEvent: [^\n]*SYN_REPORT[^\n]*\n", re.MULTILINE
)
"""A held key, repeated by a guest that is slow to hear of its release."""
AXIS = re.compile(
    r"Event code (\d+) \(ABS_\w+\)\s+Value +-?\d+\s+Min +(-?\d+)\s+Max +(-?\d+)"
    r"(?:\s+Fuzz +(\d+))?(?:\s+Flat +(\d+))?(?:\s+Resolution +(\d+))?"
)
BITMAPS = {EV_KEY: "key", EV_REL: "rel", EV_ABS: "abs", EV_LED: "led"}
"""Files in /sys/class/input/inputN/capabilities, by event type."""

Event = tuple[int, int, int]


@dataclass(frozen=True)
class Rig:
    """A guest with the input devices of a machine."""

    guest: Guest
    machine: Machine
    folder: Path
    """Where QEMU has its sockets."""

    def node(self, device: str) -> str:
        """Return the name of a device's node, such as "event0"."""
        return f"event{DEVICES.index(device)}"

    def light(self, device: str, *, on: bool) -> None:
        """Turn Caps Lock's light on or off: the guest writes events, whose time is nothing."""
        packet = ((EV_LED, CAPS_LOCK, on), SYN)
        events = b"".join(struct.pack("<qqHHi", 0, 0, *event) for event in packet)
        octal = "".join(f"\\{byte:03o}" for byte in events)
        self.guest.run(f"printf '{octal}' > /dev/input/{self.node(device)}")

    def watch(self, device: str) -> Watch:
        """Begin to read a device in the guest; returns when evtest has opened it."""
        self.guest.begin(f"evtest /dev/input/{self.node(device)}")
        self.guest.expect("interrupt to exit")
        return Watch(self.guest, len(self.guest.text))


@dataclass(frozen=True)
class Watch:
    """An evtest that runs in the guest, and where its output begins."""

    guest: Guest
    begin: int

    def wait(self, count: int) -> None:
        """Wait for so many events, all in all."""
        while len(self._parsed()) < count:
            self.guest.expect(r"SYN_REPORT -+\r*\n")

    def events(self, count: int) -> list[Event]:
        """Wait for so many events, then stop reading; returns all that came, in order."""
        self.wait(count)
        self.guest.interrupt()
        return self._parsed()

    def _parsed(self) -> list[Event]:
        """Return the events so far, without those of keys that the guest itself repeats."""
        text = REPEATED.sub("", self.guest.text[self.begin :])
        return [
            (int(match[1]), int(match[2]), int(match[3])) if match[1] else SYN
            for match in EVENT.finditer(text)
        ]


@pytest.fixture(scope="module", params=["split", "packed"])
def rig(request: pytest.FixtureRequest, shared: Cli, input_boot: Boot) -> Iterator[Rig]:
    """Boot a guest with a keyboard, a mouse and a tablet."""
    shared.environment["TMPDIR"] = str(shared.folder)
    shared.up("--vhost-user", *(f"--input={name}" for name in DEVICES))
    options = ("--packed",) if request.param == "packed" else ()
    try:
        with (
            input_boot(shared, "--root", "none", "--with", "evtest", *options) as guest,
            connect(shared.state.address) as machine,
        ):
            (socket,) = shared.folder.glob(f"virtmesh-guest-*/{QMP_SOCKET}")
            yield Rig(guest, machine, socket.parent)
    finally:
        shared("down")


@pytest.mark.parametrize("device", DEVICES)
def test_the_guest_finds_the_device_that_the_service_describes(rig: Rig, device: str) -> None:
    """Name, ids and every key, axis and light are those of the personality, none else."""
    info = rig.machine.input(device).info()
    folder = f"/sys/class/input/{rig.node(device)}/device"

    name, *ids = rig.guest.run(
        f"cd {folder}; cat name id/bustype id/vendor id/product id/version; cd /"
    ).splitlines()
    found = {
        kind: codes_in(rig.guest.run(f"cat {folder}/capabilities/{file}"))
        for kind, file in BITMAPS.items()
    }

    assert name == info.name
    assert tuple(int(text, 16) for text in ids) == info.ids
    assert found == {kind: info.capabilities.get(kind, frozenset()) for kind in BITMAPS}


def test_the_guest_finds_the_ranges_of_the_axes(rig: Rig) -> None:
    """Minimum, maximum, fuzz, flat and resolution of each axis of the tablet."""
    rig.guest.begin(f"evtest /dev/input/{rig.node('tablet')}")
    listed = rig.guest.expect("interrupt to exit")
    rig.guest.interrupt()

    axes = {
        int(code): Axis(*(int(number or 0) for number in numbers))
        for code, *numbers in AXIS.findall(listed)
    }

    assert axes == rig.machine.input("tablet").info().axes


def test_what_is_typed_arrives_key_by_key(rig: Rig) -> None:
    """A capital letter, a small one, a digit: each key down and up, Shift around the first."""
    watch = rig.watch("keyboard")

    rig.machine.input("keyboard").type("Hi5", wait="delivered")

    shift, h, i, five = (key(name) for name in ("LEFTSHIFT", "H", "I", "5"))
    strokes = [(shift, 1), (h, 1), (h, 0), (shift, 0), (i, 1), (i, 0), (five, 1), (five, 0)]
    sent = packets([(EV_KEY, code, value)] for code, value in strokes)
    assert watch.events(len(sent)) == sent


def test_a_pointer_moves_and_clicks_as_it_was_told(rig: Rig) -> None:
    """Relative motion in both directions in one packet, then a button down and up."""
    watch = rig.watch("mouse")

    mouse = rig.machine.input("mouse")
    mouse.move_rel(5, -3, wait="delivered")
    mouse.click(wait="delivered")

    left = CODES["EV_KEY"]["BTN_LEFT"]
    sent = packets([[(EV_REL, 0, 5), (EV_REL, 1, -3)], [(EV_KEY, left, 1)], [(EV_KEY, left, 0)]])
    assert watch.events(len(sent)) == sent


def test_an_absolute_pointer_goes_to_the_point(rig: Rig) -> None:
    """Both axes in one packet, at their ends and between."""
    watch = rig.watch("tablet")

    tablet = rig.machine.input("tablet")
    points = ((32767, 1), (12345, 23456))
    for x, y in points:
        tablet.move_to(x, y, wait="delivered")

    sent = packets([(EV_ABS, 0, x), (EV_ABS, 1, y)] for x, y in points)
    assert watch.events(len(sent)) == sent


def test_a_packet_longer_than_the_queue_arrives_whole(rig: Rig) -> None:
    """QEMU's queue has four buffers: six events and their SYN_REPORT come in parts, in order."""
    watch = rig.watch("mouse")
    names = ("BTN_LEFT", "BTN_RIGHT", "BTN_MIDDLE", "BTN_SIDE", "BTN_EXTRA")
    codes = [CODES["EV_KEY"][name] for name in names]

    mouse = rig.machine.input("mouse")
    for value in (1, 0):
        mouse.inject([*((name, value) for name in names), ("REL_X", 7)], wait="delivered")

    sent = packets([*((EV_KEY, code, value) for code in codes), (EV_REL, 0, 7)] for value in (1, 0))
    assert watch.events(len(sent)) == sent


def test_two_hundred_strokes_arrive_in_order(rig: Rig) -> None:
    """A queue of four is refilled again and again; nothing is lost or doubled.

    Ten at a time: evdev keeps 64 events for a reader, and evtest writes to a slow console.
    """
    watch = rig.watch("keyboard")

    keyboard = rig.machine.input("keyboard")
    for number in range(1, 21):
        keyboard.key("a", count=10, wait="delivered")
        watch.wait(number * 40)

    a = key("A")
    sent = packets([(EV_KEY, a, value)] for _ in range(200) for value in (1, 0))
    assert watch.events(len(sent)) == sent


def test_a_paused_guest_goes_on_with_its_lights(rig: Rig) -> None:
    """QEMU stops the rings and starts them again, for the same driver: a reset turns lights off.

    It is the mouse that moves: Linux sets the lights of a keyboard itself when a key is pressed.
    """
    keyboard = rig.machine.input("keyboard")
    rig.light("keyboard", on=True)
    watch = rig.watch("mouse")
    with Qmp(rig.folder / QMP_SOCKET) as qmp:
        for _ in range(3):
            qmp.execute("stop")
            qmp.execute("cont")
    rig.machine.input("mouse").move_rel(5, -3, wait="delivered")

    sent = packets([[(EV_REL, 0, 5), (EV_REL, 1, -3)]])
    assert watch.events(len(sent)) == sent
    assert keyboard.info().leds_on == (CAPS_LOCK,)
    with keyboard.watch_output() as lights:
        rig.light("keyboard", on=False)
        assert next(lights).leds_on == ()


def key(name: str) -> int:
    """Return the code of a key."""
    return CODES["EV_KEY"][f"KEY_{name}"]


def packets(groups: Iterable[Iterable[Event]]) -> list[Event]:
    """Return the events of packets, SYN_REPORT after each."""
    return [event for group in groups for event in (*group, SYN)]


def codes_in(bitmap: str) -> frozenset[int]:
    """Return the bits of a bitmap of sysfs: words of 64 bits, the highest first."""
    words = [int(word, 16) for word in reversed(bitmap.split())]
    return frozenset(64 * index + bit for index, word in enumerate(words) for bit in bits(word))


def bits(word: int) -> Iterator[int]:
    """Yield the bits that are set."""
    return (bit for bit in range(word.bit_length()) if word >> bit & 1)
