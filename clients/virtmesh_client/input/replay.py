"""What of a recording is sent to a device, and how: events that it lacks, values beyond its ranges.

A recording comes from a real device as a system received it. So it can hold what a device does not
send: lights, sounds and repeat settings, which the system sent to it. They are always left out. And
it holds values beyond the ranges that the device stated, which are sent as they are unless the
caller wants them clamped or refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from virtmesh_client.input.models import SYSTEM_TYPES
from virtmesh_client.input.recording import Recording, TimedEvent
from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.events import EV_ABS, Event
from virtmesh_common.input.release import ABS_MT, ABS_MT_SLOT, ABS_MT_TRACKING_ID, has_range

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_client.input.models import InputInfo

OutOfRange = Literal["send", "clamp", "refuse"]
"""What becomes of a value beyond the range of its axis: it is sent as it is, it is sent as the
nearest value of the range, or the recording is refused (with `skip_missing`, it is left out)."""


def fit(
    recording: Recording, info: InputInfo, *, skip_missing: bool, out_of_range: OutOfRange
) -> Recording:
    """Return what of a recording is to be sent to a device.

    With `skip_missing`, events that the device does not have are left out, and touches in slots
    that it does not have. A packet that would be empty is left out.
    """
    fitter = _Fitter(info, skip_missing=skip_missing, out_of_range=out_of_range)
    kept: list[TimedEvent] = []
    skipped: list[str] = []
    packet: list[TimedEvent] = []
    for timed in recording.events:
        if not timed.event.is_report:
            packet.append(timed)
            continue
        left = [TimedEvent(one.us, event) for one in packet for event in fitter.fit(one.event)]
        if left or not packet:
            kept += [*left, timed]
        skipped += fitter.take_skipped()
        packet = []
    return Recording(tuple(kept), recording.device, tuple(skipped), recording.dropped)


class _Fitter:
    """Fits the events of one recording to a device, one after the other."""

    def __init__(self, info: InputInfo, *, skip_missing: bool, out_of_range: OutOfRange) -> None:
        self._info = info
        self._skip_missing = skip_missing
        self._out_of_range = out_of_range
        self._skipped: list[str] = []
        self._slot_is_missing = False

    def fit(self, event: Event) -> Iterable[Event]:
        """Return the event to send: none if it is left out."""
        if self._out_of_range == "clamp":
            event = self._clamp(event)
        if event.type in SYSTEM_TYPES or (self._skip_missing and self._is_missing(event)):
            self._skipped.append(event.code_name)
            return ()
        return (event,)

    def take_skipped(self) -> list[str]:
        """Return the names of the events that were left out since the last call."""
        taken, self._skipped = self._skipped, []
        return taken

    def _clamp(self, event: Event) -> Event:
        """Return an event with its value moved into the range of its axis."""
        axis = self._info.axes.get(event.code) if event.type == EV_ABS else None
        if axis is None or not has_range(axis) or event.code in {ABS_MT_SLOT, ABS_MT_TRACKING_ID}:
            return event
        return event._replace(value=min(max(event.value, axis.minimum), axis.maximum))

    def _is_missing(self, event: Event) -> bool:
        """Say whether a device lacks an event, or the slot that it belongs to."""
        try:
            self._info.check(event, any_value=self._out_of_range == "send")
        except BadEvent:
            self._slot_is_missing |= event[:2] == (EV_ABS, ABS_MT_SLOT)
            return True
        if event[:2] == (EV_ABS, ABS_MT_SLOT):
            self._slot_is_missing = False
        return self._slot_is_missing and event.type == EV_ABS and event.code in ABS_MT
