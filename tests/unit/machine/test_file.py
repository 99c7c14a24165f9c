"""The machine file: what it says, and what it is told when it makes no sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtmesh.machine import DoorbellKind, InterruptMode, WatchdogPolicy, load
from virtmesh_common.errors import BadMachine

WHOLE = """
name = "demo"
memory = "32M"
doorbell = "rpc"
interrupts = "polling"
[kernel]
listen = ["unix:kernel.sock", "127.0.0.1:5000"]
metrics = "127.0.0.1:0"
[[devices]]
name = "vda"
kind = "blk"
slot = 3
metrics = "127.0.0.1:9100"
[devices.options]
image = "disks/vda.img"
size = "64M"
read-only = true
queues = 2
[[devices]]
name = "vdb"
kind = "blk"
endpoint = "10.0.0.1:5001"
handover = "vdb.handover"
"""


def write(folder: Path, text: str) -> Path:
    """Write a machine file."""
    path = folder / "machine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("written", "read"),
    [("keyboard", "keyboard"), ("pad.toml", "{}/pad.toml"), ("/etc/pad.toml", "/etc/pad.toml")],
)
def test_a_personality_is_a_name_or_a_file(tmp_path: Path, written: str, read: str) -> None:
    """What ends in .toml is a path, relative to the machine file."""
    text = f"""
[[devices]]
name = "keyboard"
kind = "input"
[devices.options]
personality = "{written}"
"""

    (device,) = load(write(tmp_path, text)).devices

    assert device.options["personality"] == read.format(tmp_path)
    assert device.arguments()[-2:] == ["--personality", read.format(tmp_path)]


def test_whole_file_is_read(tmp_path: Path) -> None:
    """Every key ends up in its field, and slots that are not named are given."""
    machine = load(write(tmp_path, WHOLE))

    assert machine.name == "demo"
    assert machine.memory == 32 << 20
    assert machine.doorbell is DoorbellKind.RPC
    assert machine.interrupts is InterruptMode.POLLING
    assert machine.kernel.listen == ("unix:kernel.sock", "127.0.0.1:5000")
    assert machine.kernel.metrics == "127.0.0.1:0"
    vda, vdb = machine.devices
    assert (vda.slot, vda.address, vda.irq) == (3, 0x1000_4000, 4)
    assert (vdb.slot, vdb.address, vdb.irq) == (0, 0x1000_1000, 1)
    assert vda.options["image"] == str(tmp_path / "disks/vda.img")


def test_empty_file_is_a_machine_without_devices(tmp_path: Path) -> None:
    """Everything has a default."""
    machine = load(write(tmp_path, ""))

    assert machine.name == "virtmesh"
    assert machine.memory == 64 << 20
    assert machine.kernel.listen == ("unix:kernel.sock",)
    assert machine.devices == ()


def test_resolve_places_sockets_in_the_run_folder(tmp_path: Path) -> None:
    """Relative unix sockets become absolute; other addresses stay."""
    machine = load(write(tmp_path, WHOLE)).resolve(tmp_path / "run")

    run = tmp_path / "run"
    assert machine.kernel.listen == (f"unix:{run}/kernel.sock", "127.0.0.1:5000")
    assert machine.devices[0].endpoint == f"unix:{run}/vda.sock"
    assert machine.devices[1].endpoint == "10.0.0.1:5001"
    assert machine.devices[1].handover == f"{run}/vdb.handover"


def test_absolute_sockets_stay(tmp_path: Path) -> None:
    """A path that is absolute is not moved."""
    text = '[[devices]]\nname = "vda"\nkind = "blk"\nendpoint = "unix:/run/x/vda.sock"\n'

    machine = load(write(tmp_path, text)).resolve(tmp_path)

    assert machine.devices[0].endpoint == "unix:/run/x/vda.sock"


def test_arguments_start_the_device(tmp_path: Path) -> None:
    """The arguments are those of virtmesh-device; a flag that is true stands alone."""
    vda = load(write(tmp_path, WHOLE)).resolve(tmp_path).devices[0]

    assert vda.arguments() == [
        *("blk", "--name", "vda", "--listen", f"unix:{tmp_path}/vda.sock"),
        *("--metrics", "127.0.0.1:9100", "--image", f"{tmp_path}/disks/vda.img"),
        *("--size", "64M", "--read-only", "--queues", "2"),
    ]


def test_a_device_for_guests_has_a_socket_for_them(tmp_path: Path) -> None:
    """It is in the run folder, and the device is told of it; without the key there is none."""
    text = DEVICE + "vhost-user = true\n" + DEVICE.replace("vda", "vdb") + "vhost-user = false\n"

    lent, kept = load(write(tmp_path, text)).resolve(tmp_path).devices

    assert lent.vhost_user == f"{tmp_path}/vda.vhost-user"
    assert lent.arguments()[-2:] == ["--vhost-user", f"{tmp_path}/vda.vhost-user"]
    assert kept.vhost_user is None
    assert "--vhost-user" not in kept.arguments()


def test_a_watchdog_reports_unless_it_is_to_restart(tmp_path: Path) -> None:
    """Of a device, and of the kernel service; nothing else can be done."""
    text = '[kernel]\nwatchdog = "restart"\n' + DEVICE + 'watchdog = "restart"\n'
    made = load(write(tmp_path, text + DEVICE.replace("vda", "vdb")))
    assert made.kernel.watchdog is WatchdogPolicy.RESTART
    assert [one.watchdog.value for one in made.devices] == ["restart", "report"]
    with pytest.raises(BadMachine, match="watchdog is 'reset': choose report or restart"):
        load(write(tmp_path, DEVICE + 'watchdog = "reset"\n'))


def test_serial_ports_have_places_of_their_own(tmp_path: Path) -> None:
    """They are where the board has them, and take no slot from the virtio devices."""
    text = "".join(
        f'[[devices]]\nname = "{name}"\nkind = "{kind}"\n'
        for name, kind in (("serial", "uart"), ("vda", "blk"), ("modem", "uart"), ("vdb", "blk"))
    )

    serial, vda, modem, vdb = load(write(tmp_path, text)).devices

    assert (serial.address, serial.irq) == (0x1000_0000, 10)
    assert (modem.address, modem.irq) == (0x1000_0100, 12)
    assert (vda.slot, vdb.slot) == (0, 1)


def test_options_of_a_serial_port_are_told_to_its_driver(tmp_path: Path) -> None:
    """What the driver can't find out stands in the device tree, whether written or not."""
    text = PORT + '[devices.options]\nreg-shift = "2"\nreg-io-width = 4\n'

    (serial,) = load(write(tmp_path, text)).devices

    assert serial.properties() == {
        "clock-frequency": 3_686_400,
        "reg-shift": 2,
        "reg-io-width": 4,
    }
    assert serial.arguments()[-4:] == ["--reg-shift", "2", "--reg-io-width", "4"]


DEVICE = '[[devices]]\nname = "vda"\nkind = "blk"\n'


def test_the_log_file_of_a_serial_port_is_relative_to_the_machine_file(tmp_path: Path) -> None:
    """As every path among the options is: it does not depend on where the machine is started."""
    (serial,) = load(write(tmp_path, PORT + '[devices.options]\nlog-file = "out.log"\n')).devices

    assert serial.options == {"log-file": str(tmp_path / "out.log")}


PORT = '[[devices]]\nname = "serial"\nkind = "uart"\n'


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("memroy = 1", "memroy is unknown: did you mean memory?"),
        ("zzz = 1", "zzz is unknown: known are name"),
        ("not toml", "not TOML"),
        (
            '[[devices]]\nname = "a"\nkind = "uarr"',
            "devices[0].kind is 'uarr', and no kind of device has that name: did you mean uart?",
        ),
        ('[[devices]]\nname = "a"\nkind = "toaster"', "there are blk, gpu, input, uart"),
        ("memory = 1000", "memory is wrong: 1000 bytes of RAM: choose a multiple of 4K"),
        ('memory = "much"', "write 64M, 1GiB or a number of bytes"),
        ("memory = true", "memory must be a string or a number"),
        ("memory = -4096", "a size is not negative"),
        ('doorbell = "bell"', "choose eventfd or mmio or rpc"),
        ('interrupts = "none"', "choose interrupt or polling"),
        ('name = "Demo"', "write a lower-case letter"),
        ("kernel = 1", "kernel must be a table"),
        ("devices = 1", "devices must be a list"),
        ("devices = [1]", "write [[devices]]"),
        ('[security]\nfolder = ""', ":2: security.folder is empty: name the folder"),
        ('[kernel]\nlisten = "nowhere"', "write unix:PATH or HOST:PORT"),
        ('[kernel]\nlisten = "unix:"', "names no socket"),
        ("[kernel]\nlisten = []", "must be one address or a list"),
        ('[[devices]]\nkind = "blk"', "devices[0].name is missing"),
        ('[[devices]]\nname = "vda"', "devices[0].kind is missing"),
        (DEVICE + DEVICE, "two devices of the name vda"),
        (DEVICE + "slot = 64", "slot must be from 0 to 63"),
        (DEVICE + "slot = -1", "slot must be from 0 to 63"),
        (DEVICE + 'endpoint = "10.0.0.1:1"', 'add handover = "PATH"'),
        (DEVICE + "optoins = 1", "did you mean options?"),
        (DEVICE + "[devices.options]\nsize = [1]", "must be a string or a number"),
        (DEVICE + "[devices.options]\nimage = 1", "options.image must be a string"),
        (PORT + "slot = 0", "slot is for virtio-mmio devices: leave it out, a uart needs none"),
        (PORT + "vhost-user = true", "is for virtio devices: leave it out, a uart is none"),
        (PORT + "[devices.options]\nclock = true", "clock is True: write a number below 2^32"),
        (PORT + "[devices.options]\nclock = -1", "clock is -1: write a number"),
        (PORT + '[devices.options]\nreg-shift = "two"', "reg-shift is 'two': write a number"),
        (DEVICE + "[devices.options]\n--image = 1", "without dashes before it"),
    ],
)
def test_nonsense_is_refused_with_the_mend(tmp_path: Path, text: str, mend: str) -> None:
    """The error names the file and says what to write instead."""
    path = write(tmp_path, text)

    with pytest.raises(BadMachine) as caught:
        load(path)

    assert str(path) in caught.value.message
    assert mend in caught.value.message


CPU = '[cpu]\nkernel = "k.elf"\n'


@pytest.mark.parametrize("cpu", ["", CPU])
def test_a_device_is_where_the_file_puts_it(tmp_path: Path, cpu: str) -> None:
    """Address and interrupt move it, with a CPU or without; the rest is that of its slot."""
    text = (
        cpu + DEVICE + "slot = 7\naddress = 0x20000000\ninterrupt = 33\n" + PORT + "interrupt = 5"
    )

    vda, serial = load(write(tmp_path, text)).devices

    assert (vda.slot, vda.address, vda.irq) == (7, 0x2000_0000, 33)
    assert (serial.address, serial.irq) == (0x1000_0000, 5)


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        (
            CPU + DEVICE + "address = 0x20000001",
            ":3: devices[0].address must be a multiple of 0x1000",
        ),
        (
            CPU + DEVICE + "address = 0xc000000",
            ":3: devices[0].address 0xc000000 is taken by the PLIC",
        ),
        (CPU + DEVICE + "address = 0x80000000", "is taken by RAM: choose another"),
        (CPU + PORT + DEVICE + "address = 0x10000000", "is taken by serial: choose another"),
        (CPU + PORT + DEVICE + "interrupt = 10", "devices[1].interrupt 10 is that of serial too"),
        (CPU + DEVICE + "interrupt = 96", "devices[0].interrupt must be from 1 to 95"),
        (DEVICE + "interrupt = 0", ":1: devices[0].interrupt must be from 1 to 95"),
        (DEVICE + "address = 4097", ":1: devices[0].address must be a multiple of 0x1000"),
        (DEVICE + "address = 0x2000000", "address 0x2000000 is taken by the CLINT"),
        (PORT + DEVICE + "interrupt = 10", "devices[1].interrupt 10 is that of serial too"),
        (PORT + DEVICE + "address = 0x10000000", "is taken by serial: choose another"),
        (CPU + "plic = 3\n", ":3: cpu.plic must be a string"),
        (CPU + '[cpu.quirks]\nvda = "lax"\n', ":4: cpu.quirks.vda must be lenient or legacy"),
        (CPU + '[cpu.quirks]\nsda = "legacy"\n' + DEVICE, ":4: cpu.quirks.sda is unknown"),
        (CPU + 'serial-8n1 = "yes"\n', ":3: cpu.serial-8n1 must be true or false"),
    ],
)
def test_a_wrong_place_or_quirk_is_refused_with_its_line(
    tmp_path: Path, text: str, mend: str
) -> None:
    """Nothing starts with two devices in one place."""
    with pytest.raises(BadMachine) as caught:
        load(write(tmp_path, text))

    assert mend in caught.value.message


def test_more_devices_than_slots_are_refused(tmp_path: Path) -> None:
    """The board has 64 slots."""
    text = "".join(f'[[devices]]\nname = "vd{n}"\nkind = "blk"\n' for n in range(65))

    with pytest.raises(BadMachine, match="more than the 64 devices"):
        load(write(tmp_path, text))


def test_more_serial_ports_than_places_are_refused(tmp_path: Path) -> None:
    """The board has four."""
    text = "".join(f'[[devices]]\nname = "s{n}"\nkind = "uart"\n' for n in range(5))

    with pytest.raises(BadMachine, match="more than the 4 devices of kind uart"):
        load(write(tmp_path, text))


def test_two_devices_of_one_slot_are_refused(tmp_path: Path) -> None:
    """A slot takes one device."""
    text = "".join(f'[[devices]]\nname = "vd{n}"\nkind = "blk"\nslot = 2\n' for n in range(2))

    with pytest.raises(BadMachine, match="two devices of the slot 2"):
        load(write(tmp_path, text))


def test_quirks_are_options_of_their_device(tmp_path: Path) -> None:
    """They are checked against what the kind of device knows."""
    device = '[[devices]]\nname = "vda"\nkind = "{}"\nquirks = {}\noptions.image = "d.img"\n'
    machine = load(write(tmp_path, device.format("blk", '["qemu_vendor_id"]')))
    assert machine.devices[0].options["quirks"] == "qemu_vendor_id"
    for kind, quirks, reason in (
        ("blk", '["no"]', "'no' is no quirk of the device: it knows tolerate_no_version_1"),
        ("uart", '["qemu_vendor_id"]', "it knows none"),
        ("blk", "[1]", "must be a list of names"),
    ):
        with pytest.raises(BadMachine, match=reason):
            load(write(tmp_path, device.format(kind, quirks)))


def test_missing_file_is_named(tmp_path: Path) -> None:
    """There is no machine file."""
    with pytest.raises(BadMachine, match="no such machine file"):
        load(tmp_path / "none.toml")


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    """A folder is no machine file, and neither are bytes that are no text."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")

    for path in (tmp_path, binary):
        with pytest.raises(BadMachine, match="cannot be read"):
            load(path)


def test_too_long_socket_path_is_refused(tmp_path: Path) -> None:
    """A unix socket's path has a limit; the error says which key and what to do."""
    machine = load(write(tmp_path, DEVICE))

    with pytest.raises(BadMachine, match=r"choose a shorter folder"):
        machine.resolve(tmp_path / ("x" * 120))


def test_a_byte_order_mark_is_no_part_of_a_machine_file(tmp_path: Path) -> None:
    """Some editors write one."""
    path = tmp_path / "machine.toml"
    path.write_bytes(b'\xef\xbb\xbfname = "marked"\n')
    assert load(path).name == "marked"


def test_limits_are_taken_and_passed_to_devices(tmp_path: Path) -> None:
    """Every service of the machine has the limits of its file."""
    machine = load(write(tmp_path, '[limits]\nstreams = 300\ndata-bytes = "8M"\n'))

    assert machine.limits.streams == 300
    assert machine.limits.arguments()[:4] == [
        *("--service-limit", "streams=300"),
        *("--service-limit", f"data-bytes={8 << 20}"),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [("stream = 1", "did you mean streams"), ("streams = 0", "choose from 1 to")],
)
def test_limits_that_are_wrong_are_refused(tmp_path: Path, line: str, said: str) -> None:
    """The error names the key and what to write."""
    with pytest.raises(BadMachine, match=said):
        load(write(tmp_path, f"[limits]\n{line}\n"))
