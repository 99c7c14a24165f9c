"""An input device of a machine, with blocking calls: press, type, move, touch, record, play."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Self

from virtmesh_client.input import wheels
from virtmesh_client.input.injector import Injector
from virtmesh_client.input.messages import to_info, to_stats
from virtmesh_client.input.models import Played
from virtmesh_client.input.recording import record
from virtmesh_client.input.replay import fit
from virtmesh_client.input.script import check, release_packets
from virtmesh_client.input.text import ask_to_type, options_of, text_script, type_request
from virtmesh_client.input.touch import TAP_SECONDS, Touches
from virtmesh_client.input.watch import EventWatch, OutputWatch
from virtmesh_common.api.input.v1 import input_pb2
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.api.kernel.v1 import input_device_pb2
from virtmesh_common.api.kernel.v1.input_device_pb2_grpc import InputDeviceServiceStub
from virtmesh_common.evdev import CODES, name_of
from virtmesh_common.input import moves
from virtmesh_common.input.errors import BadEvent, TypingUnavailable
from virtmesh_common.input.events import EV_ABS, EV_KEY, EV_REL, split_packets
from virtmesh_common.input.keys import press_chord, release_chord
from virtmesh_common.input.names import button_code, led_code, parse_chord
from virtmesh_common.input.release import resting_values
from virtmesh_common.input.script import at, press_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from virtmesh_client.channel import KernelChannel
    from virtmesh_client.input.batch import PacketBatch
    from virtmesh_client.input.models import Injected, InputInfo, InputStats, Overflow, Wait
    from virtmesh_client.input.recording import Recording
    from virtmesh_client.input.replay import OutOfRange
    from virtmesh_common.input.events import Event, Packet
    from virtmesh_common.input.moves import Point
    from virtmesh_common.input.script import Script
    from virtmesh_common.input.text.plan import TextOptions


class Input:
    """An input device, and one injector of it. Close it, or use it in a `with`.

    The device releases all keys and touches of this injector when it is closed, and also when its
    process or its connection ends. Each call checks all its packets before it sends the first. Each
    call that injects returns `Injected`, the outcome of its packets; `wait` says when it returns.

    `overflow` says what happens to packets when the waiting room is full. `timeout` is the longest
    time in s without progress while a call waits for packets; None: no limit. `retry_for`: how long
    to wait for a device whose process died, in s; None: as `connect` was told.

    Errors: BadEvent, DeviceNotFound, DeviceNotReady, DeviceLost, ServiceUnavailable. One that ends
    the connection has in its `metadata` the last packet "accepted", and the first "unanswered".

    Example:
        with virtmesh_client.connect() as machine, machine.input("keyboard") as keyboard:
            keyboard.type("Hello", layout="us")
            keyboard.key("ctrl+alt+delete", wait="delivered")
    """

    def __init__(
        self,
        channel: KernelChannel,
        name: str,
        *,
        overflow: Overflow = "wait",
        timeout: float | None = None,
        retry_for: float | None = None,
    ) -> None:
        self.name = name
        self._channel = channel
        self._overflow: Overflow = overflow
        self._timeout, self._retry_for = timeout, retry_for
        self._device = InputServiceStub(channel.grpc)
        self._kernel = InputDeviceServiceStub(channel.grpc)
        self._injector = Injector(channel, name, retry_for)
        self._info: InputInfo | None = None
        self._position: Point | None = None
        self._touches: Touches | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self._forget_state()
        self._injector.close(hurry=kind is not None)

    def close(self) -> None:
        """Release all keys and touches of this injector. The next call that injects opens it again.

        Errors: what ended the connection, or DeviceNotReady, if packets of "none" have no answer.
        """
        self._forget_state()
        self._injector.close()

    def info(self) -> InputInfo:
        """Return the description of the device, and which LEDs are on now."""
        response = self._channel.ask(self._device.GetInfo, input_pb2.GetInfoRequest(), self.name)
        self._info = to_info(response)
        return self._info

    def stats(self) -> InputStats:
        """Return the counters of the device."""
        response = self._channel.ask(self._device.GetStats, input_pb2.GetStatsRequest(), self.name)
        return to_stats(response)

    def inject(
        self,
        events: Iterable[Event | tuple[str, int]],
        *,
        any_value: bool = False,
        wait: Wait = "accepted",
    ) -> Injected:
        """Inject events: `Event` or pairs of code name and value. SYN_REPORT ends a packet.

        With `any_value`, values of axes may be out of range, as those of real devices are.
        """
        return self._run(at(0.0, split_packets(events)), wait, any_value=any_value)

    def press(self, chord: str, *, wait: Wait = "accepted") -> Injected:
        """Press the keys of a chord, such as "ctrl+alt", and hold them. Errors: UnknownKey."""
        return self._run(at(0.0, press_chord(parse_chord(chord))), wait)

    def release(self, chord: str, *, wait: Wait = "accepted") -> Injected:
        """Release the keys of a chord, in reverse order. Errors: UnknownKey."""
        return self._run(at(0.0, release_chord(parse_chord(chord))), wait)

    def key(
        self,
        *chords: str,
        hold: float = 0.0,
        count: int = 1,
        interval: float = 0.0,
        wait: Wait = "accepted",
    ) -> Injected:
        """Press each chord, such as "ctrl+alt+delete", `count` times. Errors: UnknownKey.

        Each press lasts `hold` seconds; `interval` seconds pass between two presses.
        """
        keys = [parse_chord(chord) for chord in chords]
        return self._run(press_keys(keys, hold=hold, count=count, interval=interval), wait)

    def type(
        self,
        text: str,
        *,
        layout: str | TextOptions = "us",
        variant: str = "",
        delay: float = 0.0,
        wait: Wait = "accepted",
    ) -> Injected:
        """Type text with an xkb keyboard layout. `delay` is the time between keys, in seconds.

        The LEDs of the device tell whether Caps Lock and Num Lock are on. `TextOptions` in place of
        a name says more: the locale, and what to do about Caps Lock. Where this system has no
        libxkbcommon, the device service types, at most 4096 characters. Errors: UntypableText,
        before anything is typed, with every character that the layout lacks.
        """
        options = options_of(layout, variant)
        try:
            script = text_script(self.info(), text, options, delay)
        except TypingUnavailable as missing:
            request = type_request(text, options, delay, wait, self._overflow)
            return ask_to_type(self._channel, self.name, request, missing)
        return self._run(script, wait)

    def move_rel(
        self, dx: int, dy: int, *, duration: float = 0.0, wait: Wait = "accepted"
    ) -> Injected:
        """Move by a distance in the device's units, at constant speed for `duration` seconds."""
        return self._run(moves.move_rel(dx, dy, duration), wait)

    def move_to(
        self, x: int, y: int, *, duration: float = 0.0, wait: Wait = "accepted"
    ) -> Injected:
        """Move to a point, given in the device's units (see `point`).

        The move takes `duration` seconds and is a straight line from this injector's last point.
        The first move is immediate, since the position of the pointer is not known yet.
        """
        injected = self._run(moves.move_abs(self._position, (x, y), duration), wait)
        self._position = (x, y)
        return injected

    def path(
        self, points: Iterable[Point], *, duration: float, wait: Wait = "accepted"
    ) -> Injected:
        """Move through points, given in the device's units, at equal intervals of time."""
        places = list(points)
        step = duration / max(1, len(places) - 1)
        script = [(n * step, moves.position(*place)) for n, place in enumerate(places)]
        injected = self._run(script, wait)
        self._position = places[-1] if places else self._position
        return injected

    def point(self, x: float, y: float) -> Point:
        """Return a point in the device's units for fractions (0.0 to 1.0). Errors: BadEvent."""
        info = self._known()
        touch = info.has(EV_ABS, CODES["EV_ABS"]["ABS_MT_POSITION_X"])
        names = ("ABS_MT_POSITION_X", "ABS_MT_POSITION_Y") if touch else ("ABS_X", "ABS_Y")
        across, down = (info.axis(CODES["EV_ABS"][name]) for name in names)
        return across.at(x), down.at(y)

    def click(
        self,
        button: str = "left",
        *,
        count: int = 1,
        hold: float = moves.CLICK_SECONDS,
        interval: float = 2 * moves.CLICK_SECONDS,
        wait: Wait = "accepted",
    ) -> Injected:
        """Click a button `count` times; 2 is a double click. Errors: UnknownKey."""
        keys = [button_code(button)]
        return self._run(press_keys([keys], hold=hold, count=count, interval=interval), wait)

    def drag(
        self,
        to: Point,
        *,
        start: Point | None = None,
        button: str = "left",
        duration: float = 0.3,
        wait: Wait = "accepted",
    ) -> Injected:
        """Move with a button held down: by a distance (mouse) or to a point (absolute device).

        `start`, on an absolute device, is where the button is pressed. Errors: UnknownKey.
        """
        code = button_code(button)
        if self._known().has(EV_REL, CODES["EV_REL"]["REL_X"]):
            if start is not None:
                raise BadEvent(f"{self.name} has relative axes: drag by a distance, without start")
            script = moves.drag(code, moves.move_rel(*to, duration), first=[])
            return self._run(script, wait)
        start = start or self._position
        if not self._known().has(EV_ABS, CODES["EV_ABS"]["ABS_X"]):
            raise BadEvent(f"{self.name} can't drag: it has no axes")
        if start is None:
            raise BadEvent(f"{self.name} has not moved yet: move it first, or give a start")
        move, first = moves.move_abs(start, to, duration), at(0.0, [moves.position(*start)])
        injected = self._run(moves.drag(code, move, first=first), wait)
        self._position = to
        return injected

    def scroll(
        self,
        notches: float,
        *,
        horizontal: float = 0.0,
        interval: float = 0.0,
        wait: Wait = "accepted",
    ) -> Injected:
        """Turn the wheels. Up and right are positive. Parts of notches need a high resolution."""
        script = wheels.scroll(self._known(), (notches, horizontal), interval)
        return self._run(script, wait)

    def touch_down(self, x: int, y: int, *, slot: int = 0, wait: Wait = "accepted") -> Injected:
        """Put a finger down at a point, given in the device's units (see `point`)."""
        return self._touch(lambda fingers: at(0.0, [fingers.down(x, y, slot)]), wait)

    def touch_move(self, x: int, y: int, *, slot: int = 0, wait: Wait = "accepted") -> Injected:
        """Move a finger that is down."""
        return self._touch(lambda fingers: at(0.0, [fingers.move(x, y, slot)]), wait)

    def touch_up(self, *, slot: int = 0, wait: Wait = "accepted") -> Injected:
        """Lift a finger."""
        return self._touch(lambda fingers: at(0.0, [fingers.up(slot)]), wait)

    def tap(
        self, x: int, y: int, *, hold: float = TAP_SECONDS, count: int = 1, wait: Wait = "accepted"
    ) -> Injected:
        """Tap with one finger `count` times; 2 is a double tap. `hold` is in seconds."""
        return self._touch(lambda fingers: fingers.tap(x, y, hold, count), wait)

    def swipe(
        self,
        start: Point,
        end: Point,
        *,
        duration: float = 0.3,
        fingers: int = 1,
        wait: Wait = "accepted",
    ) -> Injected:
        """Swipe from `start` to `end` in `duration` seconds, with several fingers side by side."""
        return self._touch(lambda down: down.swipe(start, end, duration, fingers), wait)

    def release_all(self) -> list[str]:
        """Release every key and touch of all injectors. Returns the names of the keys."""
        request = input_pb2.ReleaseAllRequest()
        response = self._channel.ask(self._device.ReleaseAll, request, self.name)
        self._touches = None
        return [name_of(EV_KEY, code) for code in response.keys]

    def set_led(self, led: str, on: bool = True) -> None:  # noqa: FBT001, FBT002 - it is the value
        """Turn an LED on or off, as the operating system does. Errors: UnknownKey."""
        request = input_device_pb2.SetLedRequest(device=self.name, led=led_code(led), on=on)
        self._channel.ask(self._kernel.SetLed, request)

    def watch(self, *, seconds: float | None = None) -> EventWatch:
        """Watch the events that the driver receives, from now on, for `seconds` if given."""
        return EventWatch(self._channel, self.name, seconds, self._retry_for)

    def watch_output(self, *, seconds: float | None = None) -> OutputWatch:
        """Watch what the driver sends to the device: LEDs, sounds and repeat settings."""
        return OutputWatch(self._channel, self.name, seconds)

    def record(self, *, seconds: float | None = None, events: int | None = None) -> Recording:
        """Record the events of all injectors that the driver receives, for a time or a number."""
        device = self.info()
        with self.watch(seconds=seconds) as watch, self._channel.running(watch):
            return record(islice(watch, events), device)

    def play(
        self,
        recording: Recording,
        *,
        speed: float = 1.0,
        skip_missing: bool = False,
        out_of_range: OutOfRange = "send",
        wait: Wait = "accepted",
    ) -> Played:
        """Replay a recording with its original timing, divided by `speed`. Speed 0 makes no pauses.

        Values beyond the range of an axis are sent as recorded, or as `out_of_range` says. Errors:
        BadEvent if the device does not have a recorded event, unless `skip_missing`.
        """
        any_value = out_of_range == "send"
        recording = fit(
            recording, self._known(), skip_missing=skip_missing, out_of_range=out_of_range
        )
        script = recording.script(speed)
        begin = time.monotonic()
        drifts: list[float] = []
        injected = self._run(script, wait, drifts, any_value=any_value)
        return Played(
            injected=injected,
            seconds=time.monotonic() - begin,
            skipped=len(recording.skipped),
            drift_max_us=round(max(drifts, default=0.0) * 1e6),
        )

    def _forget_state(self) -> None:
        """Forget the position of the pointer and the fingers that are down."""
        self._position = None
        self._touches = None

    def _known(self) -> InputInfo:
        """Return the description, from memory if possible: only its LEDs ever change."""
        return self._info or self.info()

    def _touch(self, make: Callable[[Touches], Script], wait: Wait) -> Injected:
        """Run a script of touches. If it fails, the stored fingers stay as they were."""
        fingers = self._touches.copy() if self._touches else Touches(self._known())
        injected = self._run(make(fingers), wait)
        self._touches = fingers
        return injected

    def _run(
        self,
        script: Script,
        wait: Wait,
        drifts: list[float] | None = None,
        *,
        any_value: bool = False,
    ) -> Injected:
        """Check a script, send each packet at its time, and wait as `wait` says."""
        check(self._known(), script, any_value=any_value)
        with self._injector.batch(wait, self._overflow, self._timeout) as batch:
            batch.any_value = any_value
            sent: list[Packet] = []
            try:
                self._send(batch, script, sent, drifts)
                return self._injector.settle(batch)
            except BaseException:
                resting = resting_values(self._known().axes)
                self._injector.release_held(release_packets(sent, resting))
                raise
            finally:
                if self._injector.has_ended:
                    self._forget_state()

    def _send(
        self, batch: PacketBatch, script: Script, sent: list[Packet], drifts: list[float] | None
    ) -> None:
        """Send each packet at its time since the start, so that delays do not add up."""
        self._injector.open()
        start = time.monotonic()
        for moment, packet in script:
            batch.pause_until(start + moment)
            self._injector.send(batch, packet)
            sent.append(packet)
            if drifts is not None:
                drifts.append(time.monotonic() - start - moment)
