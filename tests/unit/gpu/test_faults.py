"""A display that stops flushing, by a fault on demand."""

from __future__ import annotations

from tests.support.gpu_rig import OK, gpu_rig
from virtmesh_common.fault.words import KINDS

WHOLE = (0, 0, 8, 8)


async def test_flushes_complete_and_are_not_shown_until_the_fault_is_taken_back() -> None:
    """The driver can't tell; whoever watches sees the picture of before."""
    async with gpu_rig() as rig:
        await rig.show(1, 8, 8, bytes(8 * 8 * 4))
        scanout, faults = rig.model.scanouts[0], rig.model.interrupt.faults
        shown = scanout.flushes
        number = faults.add(KINDS["stuck-display"], seed=1)
        assert number is not None
        for _ in range(3):
            assert await rig.flush(1, WHOLE) == OK
        assert scanout.flushes == shown
        row = faults.remove(number)
        assert row is not None
        assert row[2] == 3
        assert await rig.flush(1, WHOLE) == OK
        assert scanout.flushes == shown + 1
