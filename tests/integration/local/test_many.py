"""A machine with a device in each of its 64 slots, and its four serial ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import virtmesh_client
from virtmesh_common.memory_map import RAM_ADDRESS

if TYPE_CHECKING:
    from tests.support.cli import Cli

DISKS = [f"disk{number}" for number in range(32)]
KEYBOARDS = [f"keys{number}" for number in range(32)]
PORTS = [f"serial{number}" for number in range(4)]
BLOCK = 512


def machine_file() -> str:
    """Return disks and keyboards in turn; disk 31 says itself where it is."""
    tables = []
    for disk, keyboard in zip(DISKS, KEYBOARDS, strict=True):
        place = "address = 0x20000000\ninterrupt = 95" if disk == DISKS[-1] else ""
        options = f'options = {{ image = "{disk}.img", size = "1M" }}'
        tables.append(f'[[devices]]\nname = "{disk}"\nkind = "blk"\n{place}\n{options}\n')
        options = 'options = { personality = "keyboard" }'
        tables.append(f'[[devices]]\nname = "{keyboard}"\nkind = "input"\n{options}\n')
    tables += [f'[[devices]]\nname = "{port}"\nkind = "uart"\n' for port in PORTS]
    return "".join(tables)


def test_a_full_machine_comes_up_and_each_device_is_of_use(cli: Cli) -> None:
    """Disks keep what each was given, keys arrive at the keyboard that they were for."""
    (cli.folder / "machine.toml").write_text(machine_file())
    cli.up("machine.toml", "--wait", "120")

    with virtmesh_client.connect(cli.state.address) as machine:
        found = {device.name: device for device in machine.devices()}
        assert sorted(found) == sorted([*DISKS, *KEYBOARDS, *PORTS])
        assert {device.state for device in found.values()} == {"ready"}
        assert len({device.irq for device in found.values()}) == len(found)
        assert found["disk31"].mmio_address == 0x2000_0000
        assert max(device.mmio_address for device in found.values()) < RAM_ADDRESS
        for number, name in enumerate(DISKS):
            machine.disk(name).write(0, bytes([number]) * BLOCK)
        for number, name in enumerate(DISKS):
            assert machine.disk(name).read(0, BLOCK) == bytes([number]) * BLOCK
        for name in KEYBOARDS:
            with machine.input(name) as keyboard:
                keyboard.key("a")
        for name in PORTS:
            with machine.serial(name) as port:
                port.write(b"x")
        used = {device.name: device.requests for device in machine.devices()}
        assert all(used[name] for name in KEYBOARDS)

    listed = cli("devices").stdout.splitlines()
    assert len(listed) == 1 + len(found)
    status = cli("status")
    assert status.returncode == 0, status.stderr
    assert all(name in status.stdout for name in found)
