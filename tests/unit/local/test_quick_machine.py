"""Devices on the command line of `virtmesh up` become a machine file."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtmesh import machine
from virtmesh.kinds import find_kind
from virtmesh.local.quick_machine import SHORTHANDS, Shorthand, flags_of, quick_machine
from virtmesh_common.errors import BadMachine


def load(text: str, folder: Path) -> machine.Machine:
    """Read a machine file from its text."""
    file = folder / "machine.toml"
    file.write_text(text)
    return machine.load(file)


def test_disks_become_a_machine(tmp_path: Path) -> None:
    """With the options of the device as they are spelt there."""
    text = quick_machine("demo", [f"{tmp_path}/a.img,size=64M,ro", "b.img,queues=4"])
    made = load(text, tmp_path)
    assert (made.name, [one.name for one in made.devices]) == ("demo", ["vda", "vdb"])
    assert made.devices[0].options == {
        "image": f"{tmp_path}/a.img",
        "size": "64M",
        "read-only": True,
    }
    assert made.devices[1].options["queues"] == "4"


def test_a_path_with_any_letters_stays_as_it_is(tmp_path: Path) -> None:
    """Quotes and backslashes do not end the string they are in."""
    image = f'{tmp_path}/a "quoted" \\ path \u00e9.img'
    made = load(quick_machine("demo", [image]), tmp_path)
    assert made.devices[0].options["image"] == image


def test_input_devices_become_a_machine(tmp_path: Path) -> None:
    """Named after their personality, the second of its kind with a number."""
    inputs = ["keyboard", "mouse,queue-size=4", "keyboard", f"{tmp_path}/pad.toml"]
    made = load(quick_machine("demo", ["a.img"], inputs), tmp_path)
    assert [one.name for one in made.devices] == ["vda", "keyboard", "mouse", "keyboard-2", "pad"]
    assert made.devices[2].options == {"personality": "mouse", "queue-size": "4"}
    assert made.devices[4].options == {"personality": f"{tmp_path}/pad.toml"}


def test_a_serial_port_becomes_a_part_of_the_machine(tmp_path: Path) -> None:
    """With its options, those that need no value too; files are where they were typed."""
    text = quick_machine("demo", ["a.img"], (), "pace,scrollback=4M,log-file=out.log")
    serial = load(text, tmp_path).devices[-1]
    assert (serial.name, serial.kind) == ("serial", "uart")
    assert serial.options == {
        "pace": True,
        "scrollback": "4M",
        "log-file": str(Path("out.log").absolute()),
    }


def test_disks_and_input_devices_are_left_to_guests_the_serial_port_is_not(tmp_path: Path) -> None:
    """It is no virtio device, and the console of the kernel."""
    text = quick_machine("demo", ["a.img"], ["mouse"], "", vhost_user=True)
    sockets = {one.name: one.vhost_user for one in load(text, tmp_path).devices}
    assert sockets == {"vda": "vda.vhost-user", "mouse": "mouse.vhost-user", "serial": None}


def test_a_serial_port_needs_no_options(tmp_path: Path) -> None:
    """It is all there is to a machine then."""
    (serial,) = load(quick_machine("demo", [], (), ""), tmp_path).devices
    assert (serial.name, serial.options) == ("serial", {})


def test_an_option_of_a_serial_port_that_makes_no_sense_is_refused() -> None:
    """With what may be written."""
    with pytest.raises(BadMachine, match="write pace or auto-flow or OPTION=VALUE"):
        quick_machine("demo", [], (), "fast")


@pytest.mark.parametrize("disk", ["a.img,size", "a.img,=3", "a.img,,ro", "a\nb.img"])
def test_a_disk_that_makes_no_sense_is_refused(disk: str) -> None:
    """Before anything is written."""
    with pytest.raises(BadMachine):
        quick_machine("demo", [disk])


def test_a_device_of_any_kind_becomes_a_part_of_the_machine(tmp_path: Path) -> None:
    """Named after its kind or as it says; flags and paths are those of the options of the kind."""
    text = quick_machine(
        "demo",
        [],
        devices=[
            "blk,image=a.img,read-only,name=root",
            "input,personality=pad.toml",
            "input,personality=mouse",
            "uart,auto-flow",
        ],
    )
    made = load(text, tmp_path).devices
    assert [(one.name, one.kind, one.address) for one in made] == [
        ("root", "blk", 0x1000_1000),
        ("input", "input", 0x1000_2000),
        ("input-2", "input", 0x1000_3000),
        ("uart", "uart", 0x1000_0000),
    ]
    assert [one.options for one in made] == [
        {"image": str(Path("a.img").absolute()), "read-only": True},
        {"personality": str(Path("pad.toml").absolute())},
        {"personality": "mouse"},
        {"auto-flow": True},
    ]


def test_virtio_devices_of_any_kind_are_left_to_guests(tmp_path: Path) -> None:
    """A serial port is none."""
    text = quick_machine("demo", [], devices=["blk,image=a.img", "uart"], vhost_user=True)
    sockets = {one.name: one.vhost_user for one in load(text, tmp_path).devices}
    assert sockets == {"blk": "blk.vhost-user", "uart": None}


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ("toaster", "no kind of device is named 'toaster': there are blk, gpu, input, uart"),
        ("uart,name=a,name=b", "it has 2 names: give it one"),
        ("uart,fast", "'fast' makes no sense: write pace or auto-flow or OPTION=VALUE"),
    ],
)
def test_a_device_that_makes_no_sense_is_refused(device: str, why: str) -> None:
    """With what may be written."""
    with pytest.raises(BadMachine) as caught:
        quick_machine("demo", [], devices=[device])
    assert why in caught.value.message


def test_more_devices_than_slots_are_refused() -> None:
    """The board has 64."""
    with pytest.raises(BadMachine, match="64 slots"):
        quick_machine("demo", ["a.img"] * 40, ["mouse"] * 25)
    with pytest.raises(BadMachine, match="65 devices"):
        quick_machine("demo", ["a.img"] * 64, devices=["input,personality=mouse"])


def test_many_disks_are_named_as_linux_names_them(tmp_path: Path) -> None:
    """Behind vdz comes vdaa."""
    disks = load(quick_machine("demo", ["a.img"] * 64), tmp_path).devices
    names = [one.name for one in disks]
    assert names[:2] + names[25:28] + names[51:53] + names[-1:] == [
        *("vda", "vdb", "vdz", "vdaa", "vdab", "vdaz", "vdba", "vdbl")
    ]


@pytest.mark.parametrize("shorthand", SHORTHANDS.values(), ids=SHORTHANDS)
def test_a_shorthand_names_options_that_its_kind_has(shorthand: Shorthand) -> None:
    """The kind alone says what its options are, and which of them need no value."""
    kind = find_kind(shorthand.kind)
    names = {name.removeprefix("--") for option in kind.options for name in option.opts}
    flags = {name.removeprefix("--") for one in kind.options if one.is_flag for name in one.opts}
    assert {shorthand.value_option} - {""} <= names
    assert set(flags_of(kind).values()) == flags
    assert set(flags_of(kind)) == flags | set(shorthand.flags)


def test_a_shorter_name_of_a_flag_is_that_of_the_kind(tmp_path: Path) -> None:
    """However the device is given."""
    made = load(quick_machine("demo", ["a.img,ro"], devices=["blk,image=b.img,ro"]), tmp_path)
    assert [one.options["read-only"] for one in made.devices] == [True, True]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("My_Touch Pad.toml", "my-touch-pad"),
        ("/home/me/SynPS2 (rev 2).toml", "synps2-rev-2"),
        ("360pad.toml", "input-360pad"),
        (f"{'long-' * 20}.toml", "long-long-long-long-long-long-l"),
        ("\u00e9t\u00e9.toml", "t"),
    ],
)
def test_a_personality_of_any_file_name_has_a_device_name(
    file: str, name: str, tmp_path: Path
) -> None:
    """People name files as they like; names of devices have few letters."""
    made = load(quick_machine("demo", [], inputs=[file]), tmp_path)
    assert [one.name for one in made.devices if one.kind == "input"] == [name]


def test_any_device_has_a_watchdog(tmp_path: Path) -> None:
    """It is no option of the device itself."""
    text = quick_machine(
        "demo",
        ["a.img,watchdog=restart,queues=2"],
        ["keyboard,watchdog=report"],
        "watchdog=restart",
        devices=["blk,image=b.img,watchdog=restart"],
    )
    made = load(text, tmp_path)
    assert [one.watchdog.value for one in made.devices] == [
        *("restart", "report", "restart", "restart")
    ]
    assert set(made.devices[0].options) == {"image", "queues"}
    with pytest.raises(BadMachine, match="watchdog is 'off': choose report or restart"):
        load(quick_machine("demo", ["a.img,watchdog=off"]), tmp_path)
