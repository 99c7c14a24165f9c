"""An input device whose every move a test decides: for drivers, good devices and bad ones.

model = ScriptedInput({(ConfigSelect.VIRTIO_INPUT_CFG_ID_NAME, 0): b"keyboard"})
bus = LocalBus(VirtioMmio(model), ram)
...
model.send((EV_KEY, KEY_A, 1), (EV_SYN, SYN_REPORT, 0))
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from virtmesh.testing.scripted_device import ScriptedDevice
from virtmesh.virtio.queue_device import MalformedChain
from virtmesh_common.evdev import code_of
from virtmesh_common.input import spec as layout
from virtmesh_common.input.spec import DEVIDS, EVENT, EVENTQ, ConfigSelect, InputFeature
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from enum import IntFlag

    from virtmesh.virtio.queue_device import Chain
    from virtmesh_common.registers import Register

FEATURES = int(Feature.VIRTIO_F_VERSION_1 | Feature.VIRTIO_F_EVENT_IDX)
"""What a scripted input device offers, unless told otherwise."""
Event = tuple[int, int, int]
"""Type, code and value."""
Pieces = dict[tuple[int, int], bytes]
"""Configuration by (select, subsel)."""


def bitmap(*names: str) -> bytes:
    """Make the bitmap of codes, such as "KEY_A"; as long as it must be."""
    bits = sum(1 << code_of(name)[1] for name in names)
    return bits.to_bytes(-(-bits.bit_length() // 8), "little")


def keyboard() -> Pieces:
    """Return the configuration of a keyboard of three keys and two lights."""
    bits = ConfigSelect.VIRTIO_INPUT_CFG_EV_BITS
    return {
        (ConfigSelect.VIRTIO_INPUT_CFG_ID_NAME, 0): b"scripted keyboard",
        (ConfigSelect.VIRTIO_INPUT_CFG_ID_SERIAL, 0): b"S1",
        (ConfigSelect.VIRTIO_INPUT_CFG_ID_DEVIDS, 0): DEVIDS.pack(6, 1, 2, 3),
        (bits, code_of("KEY_A")[0]): bitmap("KEY_A", "KEY_B", "KEY_LEFTSHIFT"),
        (bits, code_of("LED_NUML")[0]): bitmap("LED_NUML", "LED_CAPSL"),
    }


class ScriptedInput(ScriptedDevice):
    """A virtio input device.

    `sizes` overrides the values of the field `size`; `hold` keeps orders until `obey`.
    """

    kind = "input"
    device_id = layout.VIRTIO_ID_INPUT
    family: type[IntFlag] = InputFeature
    config = layout.CONFIG

    def __init__(  # noqa: PLR0913 - each is one trait of the device
        self,
        pieces: Mapping[tuple[int, int], bytes] | None = None,
        *,
        name: str = "keyboard",
        features: int = FEATURES,
        queue_size_max: Sequence[int] = (64, 64),
        sizes: Mapping[tuple[int, int], int] | None = None,
        hold: bool = False,
    ) -> None:
        super().__init__(name, features, queue_size_max)
        self.hold = hold
        self.orders: list[Event] = []
        """Every event of the driver."""
        self._pieces = keyboard() if pieces is None else pieces
        self._sizes = sizes or {}
        self._selected = (0, 0)
        self._posted: deque[Chain] = deque()
        self._held: deque[Chain] = deque()

    @property
    def posted(self) -> int:
        """Buffers for events that the driver has posted and the device has not used."""
        return len(self._posted)

    async def until_posted(self, count: int) -> None:
        """Wait until so many buffers for events are there."""
        while self.posted < count:
            await self.until_more()

    async def ordered(self, count: int) -> list[Event]:
        """Wait until the driver has sent so many events; return them, oldest first."""
        while len(self.orders) < count:
            await self.until_more()
        return list(self.orders)

    def send(self, *events: Event) -> None:
        """Send events. Errors: IndexError when no buffer is posted."""
        for event in events:
            self.send_raw(EVENT.pack(*event))

    def send_raw(self, data: bytes, *, written: int | None = None) -> None:
        """Fill a buffer with anything, as far as it has room.

        `written` is the number of bytes that the device reports as written; None: all of `data`.
        Errors: IndexError when no buffer is posted.
        """
        chain = self._posted.popleft()
        chain.write(data[: chain.writable_bytes])
        chain.push(len(data) if written is None else written)

    def obey(self) -> None:
        """Give the oldest order back."""
        self._held.popleft().push()

    def take(self, chain: Chain) -> None:
        """Keep a buffer for events; take an order."""
        if chain.queue == EVENTQ:
            self._posted.append(chain)
            return
        if chain.readable_bytes < EVENT.size:
            raise MalformedChain("an order of the driver is an event of 8 bytes (5.8.6.2)")
        kind, code, value = EVENT.unpack(chain.read(EVENT.size))
        self.orders.append((kind, code, value))
        self._held.append(chain)
        if not self.hold:
            self.obey()

    def read_config(self, field: Register) -> int:
        """Read a field: the piece that is selected."""
        select, subsel = self._selected
        piece = self._pieces.get(self._selected, b"")
        values = {
            layout.SELECT: select,
            layout.SUBSEL: subsel,
            layout.SIZE: self._sizes.get(self._selected, len(piece)),
            layout.U: int.from_bytes(piece, "little"),
        }
        return values.get(field, 0)

    def write_config(self, field: Register, value: int) -> None:
        """Select a piece."""
        select, subsel = self._selected
        self._selected = (value, subsel) if field is layout.SELECT else (select, value)

    def reset(self) -> None:
        """Forget every buffer."""
        self._posted.clear()
        self._held.clear()
