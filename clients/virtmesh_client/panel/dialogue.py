"""The dialogue of drivers and devices as the page shows it, and what it tells about registers."""

from __future__ import annotations

from collections import OrderedDict, deque
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from virtmesh_client.panel.deliveries import Deliveries
from virtmesh_client.trace.decode import Decoder
from virtmesh_client.trace.latest import LatestEvents
from virtmesh_common.printable import printable
from virtmesh_common.virtio import mmio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh_client.channel import KernelChannel
    from virtmesh_client.trace.decode import Spelled
    from virtmesh_client.trace.events import Event

KEPT = 250
"""Events of each device that a page gets at its start."""
KEPT_OF_ALL = 400
"""Events of all devices that a page gets at its start."""
REGISTERS_MAX = 512
"""Most registers of a device whose last value is remembered."""
CONSTANT = {
    one.name
    for one in (
        mmio.MAGIC_VALUE,
        mmio.VERSION,
        mmio.DEVICE_ID,
        mmio.VENDOR_ID,
        mmio.DEVICE_FEATURES,
    )
}
"""Registers that a reset leaves as they are."""
SEEN = {"register_read": "read", "register_write": "written"}


class Dialogue:
    """Reads and spells events. `look` blocks: it belongs on a thread, one call at a time."""

    def __init__(self, channel: KernelChannel) -> None:
        self._latest = LatestEvents(channel)
        self._decoder = Decoder()
        self._count = 0
        self._kept: dict[str, deque[dict[str, Any]]] = {}
        self.registers: dict[str, OrderedDict[str, list[Any]]] = {}
        """By device and name: the last value that was read or written, and its meaning."""
        self.deliveries = Deliveries()

    def kept(self, device: str = "") -> list[dict[str, Any]]:
        """Return the latest events of a device, or those of all devices."""
        if device:
            return list(self._kept.get(device, ()))
        found = [event for events in self._kept.values() for event in events]
        return sorted(found, key=itemgetter("number"))[-KEPT_OF_ALL:]

    def look(self, devices: Sequence[str]) -> list[dict[str, Any]]:
        """Return what is new. Errors: VirtmeshError."""
        for gone in set(self._kept) - set(devices):
            self.registers.pop(gone, None)
            del self._kept[gone]
        fresh = [self._spell(event) for event in self._latest.look(devices)]
        for event in fresh:
            self._kept.setdefault(event["device"], deque(maxlen=KEPT)).append(event)
        return fresh

    def _spell(self, event: Event) -> dict[str, Any]:
        """Spell an event, and learn from it."""
        spelled = self._decoder.spell(event)
        self._learn(event, spelled)
        self._count += 1
        time_ns = self._latest.time_ns(event)
        content: dict[str, Any] = {
            "number": self._count,
            "us": time_ns / 1000,
            "device": event.source.device,
            "side": event.source.side,
            "kind": event.kind,
            "actor": spelled.actor,
            "text": printable(spelled.text),
        }
        if spelled.since_add_ns is not None:
            content["since_us"] = spelled.since_add_ns / 1000
        return content

    def _learn(self, event: Event, spelled: Spelled) -> None:
        """Keep the value of a register, and how far an input event is."""
        device = event.source.device
        self.deliveries.learn(event, self._latest.time_ns(event))
        if event.source.side != "device":
            return
        known = self.registers.setdefault(device, OrderedDict())
        if event.kind == "reset":
            for name in [name for name in known if plain_name(name) not in CONSTANT]:
                del known[name]
        elif event.kind in SEEN and spelled.register:
            name = printable(spelled.register)
            meaning = printable(spelled.meaning)
            known[name] = [f"{event.value:x}", meaning, SEEN[event.kind]]
            known.move_to_end(name)
            if len(known) > REGISTERS_MAX:
                known.popitem(last=False)


def plain_name(name: str) -> str:
    """Return the name of a register without what selects its meaning, such as [1]."""
    return name.partition("[")[0]
