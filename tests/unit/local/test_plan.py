"""What `virtmesh up` would start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from virtmesh import machine
from virtmesh.local import plan
from virtmesh_common.errors import BadMachine


def load(text: str, folder: Path) -> machine.Machine:
    """Read a machine file from its text."""
    file = folder / "machine.toml"
    file.write_text(text)
    return machine.load(file)


def test_disks_become_a_machine(tmp_path: Path) -> None:
    """With the options of the device as they are spelt there."""
    text = plan.quick_machine("demo", [f"{tmp_path}/a.img,size=64M,ro", "b.img,queues=4"])
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
    made = load(plan.quick_machine("demo", [image]), tmp_path)
    assert made.devices[0].options["image"] == image


def test_input_devices_become_a_machine(tmp_path: Path) -> None:
    """Named after their personality, the second of its kind with a number."""
    inputs = ["keyboard", "mouse,queue-size=4", "keyboard", f"{tmp_path}/pad.toml"]
    made = load(plan.quick_machine("demo", ["a.img"], inputs), tmp_path)
    assert [one.name for one in made.devices] == ["vda", "keyboard", "mouse", "keyboard-2", "pad"]
    assert made.devices[2].options == {"personality": "mouse", "queue-size": "4"}
    assert made.devices[4].options == {"personality": f"{tmp_path}/pad.toml"}


def test_a_serial_port_becomes_a_part_of_the_machine(tmp_path: Path) -> None:
    """With its options, those that need no value too; files are where they were typed."""
    text = plan.quick_machine("demo", ["a.img"], (), "pace,scrollback=4M,log-file=out.log")
    serial = load(text, tmp_path).devices[-1]
    assert (serial.name, serial.kind) == ("serial", "uart")
    assert serial.options == {
        "pace": True,
        "scrollback": "4M",
        "log-file": str(Path("out.log").absolute()),
    }


def test_disks_and_input_devices_are_left_to_guests_the_serial_port_is_not(tmp_path: Path) -> None:
    """It is no virtio device, and the console of the kernel."""
    text = plan.quick_machine("demo", ["a.img"], ["mouse"], "", vhost_user=True)
    sockets = {one.name: one.vhost_user for one in load(text, tmp_path).devices}
    assert sockets == {"vda": "vda.vhost-user", "mouse": "mouse.vhost-user", "serial": None}


def test_a_serial_port_needs_no_options(tmp_path: Path) -> None:
    """It is all there is to a machine then."""
    (serial,) = load(plan.quick_machine("demo", [], (), ""), tmp_path).devices
    assert (serial.name, serial.options) == ("serial", {})


def test_an_option_of_a_serial_port_that_makes_no_sense_is_refused() -> None:
    """With what may be written."""
    with pytest.raises(BadMachine, match="write pace or auto-flow or OPTION=VALUE"):
        plan.quick_machine("demo", [], (), "fast")


@pytest.mark.parametrize("disk", ["a.img,size", "a.img,=3", "a.img,,ro", "a\nb.img"])
def test_a_disk_that_makes_no_sense_is_refused(disk: str) -> None:
    """Before anything is written."""
    with pytest.raises(BadMachine):
        plan.quick_machine("demo", [disk])


def test_a_device_of_any_kind_becomes_a_part_of_the_machine(tmp_path: Path) -> None:
    """Named after its kind or as it says; flags and paths are those of the options of the kind."""
    text = plan.quick_machine(
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
    text = plan.quick_machine("demo", [], devices=["blk,image=a.img", "uart"], vhost_user=True)
    sockets = {one.name: one.vhost_user for one in load(text, tmp_path).devices}
    assert sockets == {"blk": "blk.vhost-user", "uart": None}


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ("toaster", "no kind of device is named 'toaster': there are blk, input, uart"),
        ("uart,name=a,name=b", "it has 2 names: give it one"),
        ("uart,fast", "'fast' makes no sense: write pace or auto-flow or OPTION=VALUE"),
    ],
)
def test_a_device_that_makes_no_sense_is_refused(device: str, why: str) -> None:
    """With what may be written."""
    with pytest.raises(BadMachine) as caught:
        plan.quick_machine("demo", [], devices=[device])
    assert why in caught.value.message


def test_more_devices_than_slots_are_refused() -> None:
    """The board has eight."""
    with pytest.raises(BadMachine, match="8 slots"):
        plan.quick_machine("demo", ["a.img"] * 5, ["mouse"] * 4)
    with pytest.raises(BadMachine, match="9 devices"):
        plan.quick_machine("demo", ["a.img"] * 8, devices=["input,personality=mouse"])


def test_a_client_alone_can_not_host_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mend is the extra."""
    monkeypatch.setattr(plan, "HOST_MODULES", ("no_such_module",))
    with pytest.raises(BadMachine, match=r"no_such_module is missing.*virtmesh\[host\]"):
        plan.check_host()


def test_port_0_becomes_a_free_port_that_is_given_once() -> None:
    """So that a restarted process keeps its address."""
    taken: set[int] = set()
    ports = {plan.pick_port("127.0.0.1:0", taken) for _ in range(5)}
    assert len(ports) == 5
    host, _, port = ports.pop().rpartition(":")
    with socket.socket() as probe:
        probe.bind((host, int(port)))


@pytest.mark.parametrize("address", ["127.0.0.1:9464", "unix:/tmp/x.sock", ""])
def test_any_other_address_stays(address: str) -> None:
    """It was chosen."""
    assert plan.pick_port(address, set()) == address


def test_a_handover_socket_that_can_not_be_is_refused(tmp_path: Path) -> None:
    """Its path is longer than that of the device's own socket."""
    file = tmp_path / "machine.toml"
    file.write_text(
        '[kernel]\nlisten = "127.0.0.1:1"\n[[devices]]\nname = "vda"\nkind = "blk"\n'
        '[devices.options]\nimage = "a.img"\n'
    )
    run_dir = tmp_path / ("x" * (107 - len(str(tmp_path)) - len("//vda.sock")))
    with pytest.raises(BadMachine, match=r"9 bytes too long for a socket.*--run-dir"):
        plan.make_plan(file, run_dir)
