"""What a device remembers of the dialogue with its driver, for the predicates of rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh_common.virtio import mmio

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.report.event import Access
    from virtmesh_common.registers import Register

WORD = 0xFFFF_FFFF


def _nothing() -> int:
    """Return 0: a device that is no virtio device has neither features nor a status."""
    return 0


@dataclass
class Dialogue:
    """The dialogue so far: of a driver from its attachment on, and of its device since a reset.

    An event is judged first and remembered then, so predicates see what was before it.
    """

    kind: str
    """Kind of the device, such as "blk"."""
    offered: Callable[[], int] = _nothing
    """Returns the features on offer."""
    status_now: Callable[[], int] = _nothing
    """Returns the device status."""
    missing: Callable[[int], str] = lambda _: ""
    """Names the feature that a set of features needs and lacks."""
    has_shared_memory: bool = False

    status: int = 0
    """The device status before the event."""
    accepted: int = 0
    """The features that the driver wrote."""
    selected: int = 0
    """QueueSel."""
    was_reset: bool = False
    """The driver has reset the device since it attached."""
    ready: set[int] = field(default_factory=set)
    """Queues that are ready."""
    stopped_unseen: set[int] = field(default_factory=set)
    """Queues that were stopped by QueueReady, which was not read since."""
    reset_unseen: set[int] = field(default_factory=set)
    """Queues that were reset, whose QueueReset did not read as 0 since."""
    config_selected: set[str] = field(default_factory=set)
    """Selectors of an input device's configuration that were written since the last query."""
    _driver_features_sel: int = 0
    _since_attach: set[tuple[str, bool]] = field(default_factory=set)
    _since_reset: set[tuple[str, bool]] = field(default_factory=set)
    _granted: bool = False
    _granted_since_reset: bool = False

    def begin(self) -> None:
        """Begin with another driver. The device is reset."""
        self._since_attach.clear()
        self.was_reset = self._granted = False
        self.reset()

    def reset(self) -> None:
        """Forget what a reset of the device ends."""
        self.status = self.accepted = self.selected = self._driver_features_sel = 0
        self._since_reset.clear()
        self._granted_since_reset = False
        for one in (self.ready, self.stopped_unseen, self.reset_unseen):
            one.clear()
        self.config_selected.clear()

    def grant(self) -> None:
        """Take for granted what was to be read and written before: registers were replayed."""
        self._granted = self._granted_since_reset = self.was_reset = True
        self.stopped_unseen.clear()
        self.reset_unseen.clear()

    def ever(self, register: Register, *, written: bool = False) -> bool:
        """Say whether the driver has read (written) a register since it attached."""
        return self._granted or (register.name, written) in self._since_attach

    def ever_wrote(self, name: str) -> bool:
        """Say whether the driver has written a register of a name since it attached."""
        return self._granted or (name, True) in self._since_attach

    def since_reset(self, register: Register, *, written: bool = False) -> bool:
        """Say whether the driver has read (written) a register since the last reset."""
        return self._granted_since_reset or (register.name, written) in self._since_reset

    def remember(self, access: Access) -> None:
        """Remember an access that was executed."""
        register = access.register
        if register is None:
            return
        key = (register.name, access.is_write)
        self._since_attach.add(key)
        self._since_reset.add(key)
        remember = _REMEMBER.get(key)
        if remember is not None:
            remember(self, access.value)

    # -- Registers whose values count -------------------------------------------------------------

    def _status_written(self, value: int) -> None:
        """Remember a write of Status. After FEATURES_OK it has to be read again."""
        self.was_reset = self.was_reset or value == 0
        self.status = self.status_now()
        self._since_reset.discard((mmio.STATUS.name, False))

    def _features_written(self, value: int) -> None:
        """Remember 32 of the accepted features."""
        shift = 32 * self._driver_features_sel
        self.accepted = self.accepted & ~(WORD << shift) | value << shift

    def _features_selected(self, value: int) -> None:
        """Remember DriverFeaturesSel. More words than there are were refused or are 0."""
        self._driver_features_sel = min(value, 4)

    def _queue_selected(self, value: int) -> None:
        """Remember QueueSel."""
        self.selected = value

    def _ready_written(self, value: int) -> None:
        """Remember that a queue is ready, or was stopped."""
        if value:
            self.ready.add(self.selected)
            self.stopped_unseen.discard(self.selected)
            self.reset_unseen.discard(self.selected)
        elif self.selected in self.ready:
            self.ready.discard(self.selected)
            self.stopped_unseen.add(self.selected)

    def _ready_read(self, _: int) -> None:
        """Remember that the driver has read QueueReady back."""
        self.stopped_unseen.discard(self.selected)

    def _queue_reset(self, value: int) -> None:
        """Remember that a queue was reset."""
        if value:
            self.ready.discard(self.selected)
            self.reset_unseen.add(self.selected)

    def _queue_reset_read(self, value: int) -> None:
        """Remember that the driver has seen the end of a queue's reset."""
        if not value:
            self.reset_unseen.discard(self.selected)

    def _config_selected(self, name: str) -> None:
        """Remember that a selector was written."""
        self.config_selected.add(name)

    def _config_queried(self, _: int) -> None:
        """Remember that what was selected has been read."""
        self.config_selected.clear()


_REMEMBER: dict[tuple[str, bool], Callable[[Dialogue, int], None]] = {
    (mmio.STATUS.name, True): Dialogue._status_written,
    (mmio.DRIVER_FEATURES.name, True): Dialogue._features_written,
    (mmio.DRIVER_FEATURES_SEL.name, True): Dialogue._features_selected,
    (mmio.QUEUE_SEL.name, True): Dialogue._queue_selected,
    (mmio.QUEUE_READY.name, True): Dialogue._ready_written,
    (mmio.QUEUE_READY.name, False): Dialogue._ready_read,
    (mmio.QUEUE_RESET.name, True): Dialogue._queue_reset,
    (mmio.QUEUE_RESET.name, False): Dialogue._queue_reset_read,
    ("select", True): lambda dialogue, _: dialogue._config_selected("select"),
    ("subsel", True): lambda dialogue, _: dialogue._config_selected("subsel"),
    ("size", False): Dialogue._config_queried,
    ("u", False): Dialogue._config_queried,
}
