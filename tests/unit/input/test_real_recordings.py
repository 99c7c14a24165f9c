"""A device made of a recording takes that recording whole, whatever real devices send."""

from __future__ import annotations

import pytest

from tests.support.recordings import FOLDER, LID, REAL, load_real, personality_of
from virtmesh.input.checks import Checker
from virtmesh_client.input.files import load_recording
from virtmesh_client.input.models import SYSTEM_TYPES, Axis, InputInfo
from virtmesh_client.input.recording import Recording, TimedEvent
from virtmesh_client.input.replay import OutOfRange, fit
from virtmesh_client.input.script import check
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.evdev import TYPES, code_of
from virtmesh_common.input.errors import BadEvent, BadRecording
from virtmesh_common.input.events import Event, event, to_messages
from virtmesh_common.input.release import has_range

ABS, X = code_of("ABS_X")
_, SLOT = code_of("ABS_MT_SLOT")
_, ID = code_of("ABS_MT_TRACKING_ID")
REPORT = Event(0, 0, 0)


def described(recording: Recording) -> InputInfo:
    """Return the device of a recording."""
    assert recording.device is not None
    return recording.device


def info_of(recording: Recording) -> InputInfo:
    """Describe the device that is made of a recording, as its service does."""
    made = personality_of(recording)
    return InputInfo(
        name=made.name,
        serial="",
        ids=made.ids,
        personality=made.kind,
        properties=made.properties,
        capabilities={kind: frozenset(codes) for kind, codes in made.codes.items()},
        axes={code: Axis(**vars(axis)) for code, axis in made.axes.items()},
        leds_on=(),
    )


@pytest.mark.parametrize("name", REAL)
def test_a_device_takes_its_own_recording_whole(name: str) -> None:
    """Both checks pass, the client's and the device's, and every event of the device is sent."""
    recording = load_real(name)
    info = info_of(recording)
    sent = fit(recording, info, skip_missing=False, out_of_range="send")
    check(info, sent.script(0), any_value=True)
    checker = Checker("recorded", personality_of(recording))
    for number, (_, packet) in enumerate(sent.packets()):
        request = pb.InjectRequest(
            sequence=number, events=to_messages(packet) or to_messages((REPORT,)), any_value=True
        )
        assert [one[:2] for one in checker.check(request)][-1] == (0, 0)
    of_the_device = [
        one.event
        for one in recording.events
        if one.event.type not in SYSTEM_TYPES and not one.event.is_report
    ]
    assert of_the_device
    assert [one.event for one in sent.events if not one.event.is_report] == of_the_device


@pytest.mark.parametrize("name", REAL)
def test_the_personality_says_what_the_description_said(name: str) -> None:
    """Names, numbers, properties, codes, axes."""
    described_as, made = described(load_real(name)), personality_of(load_real(name))
    assert (made.name, made.ids) == (described_as.name, described_as.ids)
    assert made.properties == tuple(sorted(described_as.properties))
    for kind, codes in described_as.capabilities.items():
        if kind != TYPES["EV_FF"] and kind != 0:
            assert set(codes) <= set(made.codes[kind])
    for code, axis in described_as.axes.items():
        assert vars(made.axes[code]) == vars(axis)


def test_recordings_show_the_troubles_that_they_are_here_for() -> None:
    """Values beyond the range, axes without one, SYN_MT_REPORT, lights, lost events."""
    beyond = [
        name
        for name in REAL
        for one in load_real(name).events
        if one.event.type == ABS
        and one.event.code != ID
        and (axis := described(load_real(name)).axes.get(one.event.code))
        and has_range(axis)
        and not axis.minimum <= one.event.value <= axis.maximum
    ]
    assert set(beyond) == {
        "touchpad-beyond-its-range",
        "protocol-a",
        "pen",
        "gamepad",
        "touchscreen",
    }
    none = {n for n in REAL if any(not has_range(a) for a in described(load_real(n)).axes.values())}
    assert none == {"axes-without-a-range", "pen"}
    lost = load_real("lost-events")
    assert lost.dropped == 1
    assert [str(one.event) for one in lost.events if not one.event.is_report] == [
        "REL_X 3", "REL_Y 4", "REL_Y 7",
    ]  # fmt: skip
    assert [one.us for one in lost.events][-1] == 2_000_000


@pytest.mark.parametrize(("how", "sent"), [("send", 1266), ("clamp", 1472)])
def test_values_beyond_the_range_are_sent_or_clamped(how: OutOfRange, sent: int) -> None:
    """As the caller wants it."""
    recording = load_real("touchpad-beyond-its-range")
    fitted = fit(recording, described(recording), skip_missing=False, out_of_range=how)
    assert next(one.event.value for one in fitted.events if one.event[:2] == (ABS, X)) == sent
    ends = [one.event.value for one in fitted.events if one.event[:2] == (ABS, ID)]
    assert ends == [86, 87, -1, -1]


def test_values_beyond_the_range_can_be_refused_or_skipped() -> None:
    """With `skip_missing` they count as missing."""
    recording = load_real("touchpad-beyond-its-range")
    info = described(recording)
    whole = fit(recording, info, skip_missing=False, out_of_range="refuse")
    with pytest.raises(BadEvent, match="ABS_MT_POSITION_X goes from 1472 to 5472"):
        check(info, whole.script(0))
    part = fit(recording, info, skip_missing=True, out_of_range="refuse")
    check(info, part.script(0))
    assert part.skipped.count("ABS_X") == 2


def test_touches_in_slots_that_a_device_lacks_are_left_out() -> None:
    """Nothing of them lands in another slot."""
    info = described(load_real("touchscreen"))
    events = [
        Event(ABS, SLOT, 9), Event(ABS, ID, 5), event("ABS_MT_POSITION_X", 7), REPORT,
        Event(ABS, SLOT, 1), Event(ABS, ID, 6), REPORT,
    ]  # fmt: skip
    recording = Recording(tuple(TimedEvent(0, one) for one in events))
    fitted = fit(recording, info, skip_missing=True, out_of_range="send")
    assert [one.event for one in fitted.events] == events[4:]
    whole = fit(recording, info, skip_missing=False, out_of_range="send")
    with pytest.raises(BadEvent, match=r"ABS_MT_SLOT goes from 0 to 1$"):
        check(info, whole.script(0), any_value=True)


def test_what_a_device_lacks_can_be_left_out() -> None:
    """Packets of which nothing is left go too; empty ones that were recorded stay."""
    timed = [
        event("BTN_LEFT", 1), event("KEY_B", 1), REPORT, event("KEY_B", 0), REPORT, REPORT,
    ]  # fmt: skip
    recording = Recording(tuple(TimedEvent(0, one) for one in timed))
    info = described(load_real("lost-events"))
    kept = fit(recording, info, skip_missing=True, out_of_range="send")
    assert [one.event for one in kept.events] == [event("BTN_LEFT", 1), REPORT, REPORT]
    assert kept.skipped == ("KEY_B", "KEY_B")


def test_what_the_system_sent_is_left_out() -> None:
    """Lights and repeat settings were recorded with the keyboard, and no keyboard sends them."""
    recording = load_real("keyboard-with-lights")
    fitted = fit(recording, described(recording), skip_missing=False, out_of_range="send")
    assert fitted.skipped == ("REP_DELAY", "REP_PERIOD", "LED_CAPSL")


def test_a_file_of_several_devices_asks_which() -> None:
    """It names them; each can be had."""
    path = FOLDER / "touchscreen-and-lid.yml"
    with pytest.raises(BadRecording, match=r"2 devices: choose one .* /dev/input/event5 \(eGalax"):
        load_recording(path)
    with pytest.raises(BadRecording, match="no /dev/input/event9"):
        load_recording(path, node="/dev/input/event9")
    assert described(load_recording(path, node=LID)).name == "Lid Switch"
    assert described(load_real("touchscreen")).name == 'eGalax Inc. USB "Touch" #1'
