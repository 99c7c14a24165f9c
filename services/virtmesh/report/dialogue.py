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
    features_selected: int = 0
    """DriverFeaturesSel."""
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
        self.status = self.accepted = self.selected = self.features_selected = 0
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

    def forget(self, register: Register) -> None:
        """Forget that a register was read: it has to be read again."""
        self._since_reset.discard((register.name, False))

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


def _status_written(dialogue: Dialogue, value: int) -> None:
    """Remember a write of Status. After FEATURES_OK it has to be read again."""
    dialogue.was_reset = dialogue.was_reset or value == 0
    dialogue.status = dialogue.status_now()
    dialogue.forget(mmio.STATUS)


def _features_written(dialogue: Dialogue, value: int) -> None:
    """Remember 32 of the accepted features."""
    shift = 32 * dialogue.features_selected
    dialogue.accepted = dialogue.accepted & ~(WORD << shift) | value << shift


def _features_sel_written(dialogue: Dialogue, value: int) -> None:
    """Remember DriverFeaturesSel. More words than there are were refused or are 0."""
    dialogue.features_selected = min(value, 4)


def _queue_selected(dialogue: Dialogue, value: int) -> None:
    """Remember QueueSel."""
    dialogue.selected = value


def _ready_written(dialogue: Dialogue, value: int) -> None:
    """Remember that a queue is ready, or was stopped."""
    if value:
        dialogue.ready.add(dialogue.selected)
        dialogue.stopped_unseen.discard(dialogue.selected)
        dialogue.reset_unseen.discard(dialogue.selected)
    elif dialogue.selected in dialogue.ready:
        dialogue.ready.discard(dialogue.selected)
        dialogue.stopped_unseen.add(dialogue.selected)


def _ready_read(dialogue: Dialogue, _: int) -> None:
    """Remember that the driver has read QueueReady back."""
    dialogue.stopped_unseen.discard(dialogue.selected)


def _queue_reset(dialogue: Dialogue, value: int) -> None:
    """Remember that a queue was reset."""
    if value:
        dialogue.ready.discard(dialogue.selected)
        dialogue.reset_unseen.add(dialogue.selected)


def _queue_reset_read(dialogue: Dialogue, value: int) -> None:
    """Remember that the driver has seen the end of a queue's reset."""
    if not value:
        dialogue.reset_unseen.discard(dialogue.selected)


def _config_queried(dialogue: Dialogue, _: int) -> None:
    """Remember that what was selected has been read."""
    dialogue.config_selected.clear()


_REMEMBER: dict[tuple[str, bool], Callable[[Dialogue, int], None]] = {
    (mmio.STATUS.name, True): _status_written,
    (mmio.DRIVER_FEATURES.name, True): _features_written,
    (mmio.DRIVER_FEATURES_SEL.name, True): _features_sel_written,
    (mmio.QUEUE_SEL.name, True): _queue_selected,
    (mmio.QUEUE_READY.name, True): _ready_written,
    (mmio.QUEUE_READY.name, False): _ready_read,
    (mmio.QUEUE_RESET.name, True): _queue_reset,
    (mmio.QUEUE_RESET.name, False): _queue_reset_read,
    ("select", True): lambda dialogue, _: dialogue.config_selected.add("select"),
    ("subsel", True): lambda dialogue, _: dialogue.config_selected.add("subsel"),
    ("size", False): _config_queried,
    ("u", False): _config_queried,
}
