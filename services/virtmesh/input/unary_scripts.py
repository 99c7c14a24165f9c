"""The scripts of the unary calls: what Type, Key, Click and Move send, and when.

A request is checked whole, and bounded, before its first packet is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.evdev import CODES, TYPES, name_of
from virtmesh_common.input import moves
from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.names import button_code, parse_chord
from virtmesh_common.input.script import at, press_keys
from virtmesh_common.input.text.keyboard import Keyboard
from virtmesh_common.input.text.layouts import LOCALE
from virtmesh_common.input.text.plan import TextOptions, plan_text

if TYPE_CHECKING:
    from virtmesh.input.model import InputModel
    from virtmesh_common.input.moves import Point
    from virtmesh_common.input.script import Script
    from virtmesh_common.input.text.plan import CapsLock

EV_KEY, EV_REL, EV_ABS, EV_LED = (TYPES[one] for one in ("EV_KEY", "EV_REL", "EV_ABS", "EV_LED"))
KEY, REL, ABS = CODES["EV_KEY"], CODES["EV_REL"], CODES["EV_ABS"]
TEXT_MAX = 4096
"""Most characters of a text."""
NAME_MAX = 64
"""Most characters of the name of a layout, a variant, a locale, a button."""
CHORDS_MAX = 256
CHORD_LENGTH_MAX = 256
"""Most characters of a chord."""
COUNT_MAX = 1000
PACKETS_MAX = 1 << 16
SECONDS_MAX = 60.0
"""The longest time that a call may ask for by its own times."""
CLICK_HOLD_US, CLICK_INTERVAL_US = 20_000, 40_000
COORDINATE_MAX = (1 << 31) - 1
"""The largest coordinate that an event has room for."""
UNITS = frozenset(pb.Unit.values())
CAPS_LOCK: dict[pb.CapsLock.ValueType, CapsLock] = {
    pb.CAPS_LOCK_UNSPECIFIED: "lit",
    pb.CAPS_LOCK_LIT: "lit",
    pb.CAPS_LOCK_OFF: "off",
    pb.CAPS_LOCK_ASSUME_ON: "assume-on",
    pb.CAPS_LOCK_ASSUME_OFF: "assume-off",
}


def type_script(request: pb.TypeRequest, keyboard: Keyboard) -> Script:
    """Return the script of Type. It may take seconds of processor time: call it on a thread.

    Errors: UntypableText; UnknownKey.
    """
    options = TextOptions(
        request.layout or "us",
        request.variant,
        request.locale or LOCALE,
        CAPS_LOCK[request.caps_lock],
    )
    interval = seconds(request.interval_us)
    groups = enumerate(plan_text(request.text, keyboard, options))
    return [timed for index, group in groups for timed in at(index * interval, group)]


def check_type(request: pb.TypeRequest, model: InputModel) -> Keyboard:
    """Check what can be checked quickly; return the keyboard as it is now. Errors: BadEvent."""
    keys = frozenset(model.personality.codes.get(EV_KEY, ()))
    if not {KEY["KEY_A"], KEY["KEY_ENTER"]} <= keys:
        raise BadEvent(
            f"{model.name} can't type: it is a {model.personality.kind}, without keys for letters"
        )
    if len(request.text) > TEXT_MAX:
        raise BadEvent(
            f"a text of {len(request.text)} characters is too long for one call: type at most"
            f" {TEXT_MAX} at a time"
        )
    for what in ("layout", "variant", "locale"):
        check_name(what, getattr(request, what))
    if request.caps_lock not in CAPS_LOCK:
        raise BadEvent(f"caps_lock is {request.caps_lock}: choose a value of CapsLock")
    check_seconds(len(request.text) * seconds(request.interval_us))
    leds = frozenset(name_of(EV_LED, code) for code in model.output.leds_on)
    return Keyboard(keys, leds, frozenset(model.injection.keys_held))


def key_script(request: pb.KeyRequest) -> Script:
    """Return the script of Key. Errors: BadEvent; UnknownKey."""
    if not 1 <= len(request.chords) <= CHORDS_MAX:
        raise BadEvent(f"a call presses 1 to {CHORDS_MAX} chords, not {len(request.chords)}")
    for chord in request.chords:
        if len(chord) > CHORD_LENGTH_MAX:
            raise BadEvent(f"{chord[:NAME_MAX]!r}... is too long for a chord of keys")
    count = check_count(request.count)
    hold, interval = seconds(request.hold_us), seconds(request.interval_us)
    check_seconds(len(request.chords) * count * (hold + interval))
    chords = [parse_chord(chord) for chord in request.chords]
    if sum(map(len, chords)) * 2 * count > PACKETS_MAX:
        raise BadEvent(f"one call sends at most {PACKETS_MAX} packets: press keys less often")
    return press_keys(chords, hold=hold, count=count, interval=interval)


def click_script(request: pb.ClickRequest, model: InputModel) -> Script:
    """Return the script of Click. Errors: BadEvent; UnknownKey."""
    check_name("button", request.button)
    keys = [button_code(request.button or "left")]
    count = check_count(request.count)
    hold = seconds(request.hold_us if request.HasField("hold_us") else CLICK_HOLD_US)
    interval = seconds(
        request.interval_us if request.HasField("interval_us") else CLICK_INTERVAL_US
    )
    check_seconds(count * (hold + interval))
    first = moves.move_abs(None, point(request.at, model), 0.0) if request.HasField("at") else []
    return [*first, *press_keys([keys], hold=hold, count=count, interval=interval)]


def move_script(request: pb.MoveRequest, model: InputModel) -> Script:
    """Return the script of Move. Errors: BadEvent."""
    duration = seconds(request.duration_us)
    check_seconds(duration)
    way = request.WhichOneof("way")
    start = getattr(request, "from")
    has_start = request.HasField("from")
    if way == "to":
        end = point(request.to, model)
        begin = point(start, model) if has_start else None
        script = at(0.0, [moves.position(*begin)]) if begin else []
        return [*script, *moves.move_abs(begin, end, duration)]
    if way is None:
        raise BadEvent("a movement has no way: give a distance (by) or a point (to)")
    if has_start:
        raise BadEvent("a movement by a distance has no start: leave `from` out")
    if REL["REL_X"] not in model.personality.codes.get(EV_REL, ()):
        raise BadEvent(
            f"{model.name} can't move by a distance: it is a {model.personality.kind}, without"
            " relative axes"
        )
    return moves.move_rel(request.by.x, request.by.y, duration)


def point(place: pb.Point, model: InputModel) -> Point:
    """Return a point in the units of the device. Errors: BadEvent."""
    axes = model.personality.axes
    across, down = axes.get(ABS["ABS_X"]), axes.get(ABS["ABS_Y"])
    if across is None or down is None or ABS["ABS_MT_SLOT"] in axes:
        why = "touch it by Inject" if ABS["ABS_MT_SLOT"] in axes else "it has no absolute axes"
        raise BadEvent(
            f"{model.name} can't move to a point: it is a {model.personality.kind}; {why}"
        )
    if place.unit not in UNITS:
        raise BadEvent(f"unit is {place.unit}: choose a value of Unit")
    if not (abs(place.x) <= COORDINATE_MAX and abs(place.y) <= COORDINATE_MAX):
        raise BadEvent(f"({place.x:g}, {place.y:g}) is no point of any device")
    if place.unit != pb.UNIT_FRACTION:
        return round(place.x), round(place.y)
    if not (0.0 <= place.x <= 1.0 and 0.0 <= place.y <= 1.0):
        raise BadEvent(f"({place.x}, {place.y}) is outside the axes: fractions are 0.0 to 1.0")
    x, y = (
        axis.minimum + round(part * (axis.maximum - axis.minimum))
        for axis, part in ((across, place.x), (down, place.y))
    )
    return x, y


def seconds(microseconds: int) -> float:
    """Return seconds."""
    return microseconds / 1e6


def check_count(count: int) -> int:
    """Return how often; 0 stands for once. Errors: BadEvent."""
    if count > COUNT_MAX:
        raise BadEvent(f"a count of {count} is too high: choose 1 to {COUNT_MAX}")
    return count or 1


def check_seconds(asked: float) -> None:
    """Check how long a call takes by its own times. Errors: BadEvent."""
    if asked > SECONDS_MAX:
        raise BadEvent(
            f"this would take {asked:.1f} s: one call takes at most {SECONDS_MAX:g} s, so make"
            " several, or use Inject"
        )


def check_name(what: str, name: str) -> None:
    """Check the length of a name. Errors: BadEvent."""
    if len(name) > NAME_MAX:
        raise BadEvent(f"the {what} {name[:NAME_MAX]!r}... is too long for a name")
