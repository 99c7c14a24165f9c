"""The configuration space of an input device, by registers (virtio 1.4, 5.8.4)."""

from __future__ import annotations

import pytest

from tests.support.input_device_rig import LED, InputDeviceRig
from virtmesh_common.errors import BadWidth, DriverViolation, NotWritable, RegisterError
from virtmesh_common.input import spec as layout
from virtmesh_common.input.spec import ConfigSelect


async def test_the_configuration_by_registers(keyboard: InputDeviceRig) -> None:
    """A driver selects, looks at the size, and reads bytes, half words and words."""
    await keyboard.bring_up()
    name = await keyboard.read(ConfigSelect.VIRTIO_INPUT_CFG_ID_NAME, 0)
    assert name == b"virtmesh keyboard"
    assert await keyboard.read(ConfigSelect.VIRTIO_INPUT_CFG_ID_DEVIDS, 0) == bytes.fromhex(
        "0600564d01000100"
    )
    assert await keyboard.driver.plane.read(layout.U.offset, 2) == 6
    assert await keyboard.driver.plane.read(layout.U.offset, 4) == 0x4D56_0006
    assert await keyboard.driver.plane.read(layout.U.offset + 124, 4) == 0
    assert await keyboard.driver.get(layout.SELECT) == ConfigSelect.VIRTIO_INPUT_CFG_ID_DEVIDS
    assert await keyboard.driver.get(layout.RESERVED) == 0


@pytest.mark.parametrize(
    ("select", "subsel"), [(0, 0), (1, 1), (3, 9), (0x11, 0), (0x11, 3), (0x12, 0), (255, 255)]
)
async def test_what_is_not_there_has_size_0(
    keyboard: InputDeviceRig, select: int, subsel: int
) -> None:
    """A device MUST set size to zero if it does not support the combination (5.8.5.2)."""
    await keyboard.bring_up()
    await keyboard.read(ConfigSelect.VIRTIO_INPUT_CFG_ID_NAME, 0)
    assert await keyboard.read(select, subsel) == b""
    assert await keyboard.driver.plane.read(layout.U.offset, 4) == 0


@pytest.mark.parametrize(
    ("offset", "width", "value", "error"),
    [
        (2, 1, 1, NotWritable),
        (3, 1, 1, NotWritable),
        (8, 4, 1, NotWritable),
        (135, 1, 1, NotWritable),
        (0, 2, 0x0101, BadWidth),
        (0, 4, 1, BadWidth),
        (136, 1, 1, RegisterError),
    ],
)
async def test_nothing_else_can_be_written(
    keyboard: InputDeviceRig, offset: int, width: int, value: int, error: type[RegisterError]
) -> None:
    """Only select and subsel, a byte each (5.8.5.1); a refused write changes nothing."""
    await keyboard.bring_up()
    await keyboard.read(ConfigSelect.VIRTIO_INPUT_CFG_EV_BITS, LED)
    with pytest.raises(error):
        await keyboard.driver.plane.write(0x100 + offset, value, width)
    assert await keyboard.driver.get(layout.SELECT) == ConfigSelect.VIRTIO_INPUT_CFG_EV_BITS
    assert await keyboard.driver.get(layout.SUBSEL) == LED
    assert await keyboard.driver.get(layout.SIZE) == 1


async def test_nothing_is_selected_before_features_ok(keyboard: InputDeviceRig) -> None:
    """A driver must not write the configuration before FEATURES_OK (3.1.1)."""
    await keyboard.driver.reset()
    with pytest.raises(DriverViolation):
        await keyboard.driver.put(layout.SELECT, 1)


async def test_a_reset_selects_nothing(keyboard: InputDeviceRig) -> None:
    """The next driver finds select and subsel at 0."""
    await keyboard.bring_up()
    await keyboard.read(ConfigSelect.VIRTIO_INPUT_CFG_EV_BITS, LED)
    await keyboard.driver.reset()
    found = [await keyboard.driver.get(one) for one in (layout.SELECT, layout.SUBSEL, layout.SIZE)]
    assert found == [0, 0, 0]
