"""Traces of kinds that this client has never heard of: in the words of the device itself."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.interfaces import MODE, STATE, TOY, wide_registers
from tests.support.steps import count_steps
from tests.support.trace_events import DEVICE, DRIVER, Tape
from virtmesh_client.trace.decode import Decoder, may_differ
from virtmesh_client.trace.events import Event
from virtmesh_client.trace.kind_faces import KindFace, find_kind_face
from virtmesh_client.trace.register_names import VirtioNames, WindowNames
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.interface import Interface, RegisterSpace
from virtmesh_common.interface_message import REGISTER_MAX, parse_interface
from virtmesh_common.registers import Access, Register
from virtmesh_common.virtio import mmio

UNKNOWN = dataclasses.replace(DEVICE, kind="toy", virtio_device_id=77)
SOURCE = dataclasses.replace(UNKNOWN, interface=TOY)


def spell(*events: Event) -> list[str]:
    """Spell events in order, each with who acts."""
    decoder = Decoder()
    spelled = [decoder.spell(event) for event in events]
    return [f"{one.actor} {one.text}" for one in spelled]


def test_registers_and_fields_have_the_names_that_the_device_gives() -> None:
    """Those of virtio over MMIO are known anyway."""
    tape = Tape(SOURCE)
    assert spell(
        tape.read(mmio.DEVICE_ID.offset, 77),
        tape.write(mmio.STATUS.offset, 1),
        tape.write(MODE.offset, 0b1_0000_0101),
        tape.write(MODE.offset, 0b0111_0110),
        tape.read(MODE.offset, 0),
        tape.read(STATE.offset, 12),
        tape.read(0x1F0, 3),
    ) == [
        "drv <- DeviceID = 0x4d",
        "drv -> Status = ACKNOWLEDGE",
        "drv -> mode = 0x105 ON|SPEED=fast|reserved=0x100",
        "drv -> mode = 0x76 SPEED=3|LEVEL=7",
        "drv <- mode = 0",
        "drv <- state = 0xc",
        "drv <- config[0xf0] = 3",
    ]


@pytest.mark.parametrize("names", [WindowNames, VirtioNames])
def test_wide_registers_are_named_in_as_many_steps_as_narrow_ones(
    names: type[WindowNames | VirtioNames],
) -> None:
    """And a byte in the middle of one is found."""

    def name(size: int) -> tuple[str, str]:
        interface = parse_interface(wide_registers(size))
        made = VirtioNames(interface) if names is VirtioNames else WindowNames(interface.registers)
        return made.spell(16 * size + size // 2, 1, None, write=False)

    assert name(REGISTER_MAX) == (f"R16+{REGISTER_MAX // 2}", "")
    steps = count_steps(lambda: name(REGISTER_MAX))
    assert steps == count_steps(lambda: name(REGISTER_MAX // 2))


def test_features_and_requests_have_the_names_that_the_device_gives() -> None:
    """A type with sectors has one; what has no name keeps its number."""
    tape = Tape(SOURCE)
    assert spell(
        tape("reset"),
        tape.read(mmio.DEVICE_FEATURES.offset, 0b1001),
        tape("request_start", token=1, detail=0, value=5, extra=64),
        tape("request_start", token=2, detail=1, value=5),
        tape("request_end", token=2, detail=1, value=1),
        tape("request_end", token=3, detail=9, value=9),
    )[1:] == [
        "drv <- DeviceFeatures[0] = 0x9 bit 0|VIRTIO_TOY_F_LOUD",
        "dev q0 request #1 PLAY, 64 bytes",
        "dev q0 request #2 SEEK sector 5",
        "dev q0 request #2 SEEK -> BROKE",
        "dev q0 request #3 type 9 -> status 9",
    ]


def test_reserved_bits_are_told_behind_their_write() -> None:
    """With the name of the register."""
    tape = Tape(SOURCE)
    assert spell(
        tape.write(MODE.offset, 0x100),
        tape("reserved_bits", detail=4, token=MODE.offset, value=0x100, extra=0x100),
    ) == [
        "drv -> mode = 0x100 reserved=0x100",
        "dev mode: reserved bits 0x100 ignored",
    ]


def test_a_device_that_says_nothing_is_shown_by_numbers() -> None:
    """As one of an earlier version, or one that is gone."""
    tape = Tape(UNKNOWN)
    assert spell(
        tape("reset"),
        tape.read(mmio.DEVICE_FEATURES.offset, 8),
        tape.write(MODE.offset, 5),
        tape("request_end", token=2, detail=1, value=1),
    )[1:] == [
        "drv <- DeviceFeatures[0] = 0x8",
        "drv -> config[0x0] = 5",
        "dev q0 request #2 type 1 -> status 1",
    ]


def test_a_window_of_its_own_has_no_registers_of_virtio() -> None:
    """Banks that the client can't tell apart are both named."""
    registers = (
        Register("DATA", 0, Access.RW, "", "", bank="0"),
        Register("SETUP", 0, Access.RW, "", "", bank="1"),
        Register("STATUS", 4, Access.R, "", ""),
    )
    interface = Interface(kind="odd", space=RegisterSpace.WINDOW, registers=registers)
    source = dataclasses.replace(
        SOURCE, kind="odd", compatible="acme,odd", virtio_device_id=0, interface=interface
    )
    tape = Tape(source)
    assert spell(tape.read(0, 7), tape.read(4, 7), tape.write(4, 7), tape.read(8, 7)) == [
        "drv <- DATA/SETUP = 7",
        "drv <- STATUS = 7",
        "drv -> [0x004] = 7",
        "drv <- [0x008] = 7",
    ]


def test_what_a_device_is_called_after_it_came_back_counts() -> None:
    """Another version of its service can have other names."""
    later = dataclasses.replace(
        SOURCE, run_id="later", interface=dataclasses.replace(TOY, request_statuses=((0, "FINE"),))
    )
    before, after = Tape(SOURCE), Tape(later)
    assert spell(
        before("request_end", token=1, detail=0),
        before("gone"),
        after("back"),
        after("request_end", token=1, detail=0),
    )[::3] == ["dev q0 request #1 PLAY -> DONE", "dev q0 request #1 PLAY -> FINE"]


def test_the_driver_says_nothing_about_names() -> None:
    """Its events come first, and do not decide what the device's are called."""
    driver = Tape(dataclasses.replace(DRIVER, kind=""))
    device = Tape(SOURCE)
    assert spell(driver("add", token=1), device("request_end", token=1, detail=0))[1] == (
        "dev q0 request #1 PLAY -> DONE"
    )


MODULE = """
from virtmesh_client.trace.kind_faces import KindFace
from virtmesh_client.trace.register_names import WindowNames

FACE = KindFace(
    names=lambda interface: WindowNames(interface.registers), may_differ={"state": "it plays"}
)
NO_FACE = 7
"""
ENTRY_POINTS = """
[virtmesh_client.kinds]
toy = toy_client:FACE
missing = no_such_module:FACE
nameless = toy_client:OTHER
wrong = toy_client:NO_FACE
"""


@pytest.fixture
def _toy_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have a distribution on the path that adds faces of kinds."""
    (tmp_path / "toy_client.py").write_text(MODULE)
    metadata = tmp_path / "toy_client-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-client\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    find_kind_face.cache_clear()
    yield
    find_kind_face.cache_clear()
    sys.modules.pop("toy_client", None)


@pytest.mark.usefixtures("_toy_client")
def test_a_richer_face_comes_by_entry_point() -> None:
    """It decides on names; a kind without one has none."""
    assert spell(Tape(SOURCE).read(mmio.STATUS.offset, 1)) == ["drv <- [0x070] = 1"]
    assert may_differ(SOURCE)["state"] == "it plays"
    assert find_kind_face("never-heard-of") == KindFace()


@pytest.mark.parametrize("kind", ["missing", "nameless", "wrong"])
@pytest.mark.usefixtures("_toy_client")
def test_a_face_that_is_broken_says_so(kind: str) -> None:
    """With the entry point that is to blame."""
    with pytest.raises(VirtmeshError, match=kind):
        find_kind_face(kind)


@pytest.mark.parametrize("kind", ["blk", "input", "uart"])
def test_the_kinds_of_the_client_have_faces(kind: str) -> None:
    """Its distribution registers them."""
    assert find_kind_face(kind) != KindFace()
