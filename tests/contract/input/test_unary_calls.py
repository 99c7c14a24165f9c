"""Type, Key, Click and Move: one call each, for a script in any language."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio
import pytest

from tests.support.input_desk import CAPS, Desk, opened, request
from virtmesh.input import unary_calls
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.errors import (
    DeviceNotReady,
    LimitReached,
    ShuttingDown,
    VirtmeshError,
    from_rpc_error,
)
from virtmesh_common.evdev import code_of
from virtmesh_common.input.errors import BadEvent, UnknownKey, UntypableText
from virtmesh_common.input.events import Event
from virtmesh_common.input.text.decode import Decoder
from virtmesh_common.limits import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.input_desk import Driver, Serve
    from virtmesh_common.input.script import Script

KEY, SHIFT = code_of("KEY_LEFTSHIFT")
_, LEFT = code_of("BTN_LEFT")
REL, X = code_of("REL_X")
_, Y = code_of("REL_Y")
ABS, ABS_X = code_of("ABS_X")
_, ABS_Y = code_of("ABS_Y")
SYN = (0, 0, 0)
WAITING = 8
DELIVER = pb.Sending(wait_delivered=True)


@pytest.fixture
async def desk(request: pytest.FixtureRequest, serve: Serve) -> AsyncIterator[Desk]:
    """Serve a device: a keyboard, unless a test says which."""
    kind = getattr(request, "param", "keyboard")
    async with opened(serve, kind, waiting=WAITING) as desk:
        yield desk


async def take_while(driver: Driver, call: Any) -> tuple[Any, list[tuple[int, int, int]]]:
    """Let a driver take what a call sends; return the answer, and the events without SYN_REPORT."""
    got: list[tuple[int, int, int]] = []
    news = asyncio.Event()

    async def take() -> None:
        while True:
            got.extend(await driver.take(1))
            news.set()

    taking = asyncio.create_task(take())
    answer = await call
    while len(got) < sum(one.events + 1 for one in answer.sent.packets):
        news.clear()
        await news.wait()
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    return answer, [event for event in got if event != SYN]


async def error_of(call: Any) -> VirtmeshError:
    """Return the error that a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


def read(events: Sequence[tuple[int, int, int]], layout: str) -> str:
    """Read keys as the driver's side would."""
    return Decoder(layout).read(Event(*event) for event in events)


async def test_a_text_is_typed(desk: Desk) -> None:
    """With the layout's dead keys and AltGr; each packet has its outcome and its number."""
    text = "Grüße €5 \u00e1!\n"
    async with desk.driven() as driver:
        answer, got = await take_while(
            driver, desk.inputs.Type(pb.TypeRequest(text=text, layout="de", sending=DELIVER))
        )
    assert read(got, "de") == text.replace("\n", "\r")
    sent = answer.sent.packets
    assert {one.outcome for one in sent} == {pb.OUTCOME_DELIVERED}
    assert [one.packet for one in sent] == list(range(1, len(sent) + 1))
    assert sum(one.events for one in sent) == len(got)


async def test_the_light_of_caps_lock_counts(desk: Desk) -> None:
    """With it on, Shift types small letters; or it is turned off for the text."""
    async with desk.driven() as driver:
        await driver.light(CAPS, 1)
        await driver.take(0)
        request = pb.TypeRequest(text="aB", sending=DELIVER)
        _, shifted = await take_while(driver, desk.inputs.Type(request))
        request.caps_lock = pb.CAPS_LOCK_OFF
        _, tapped = await take_while(driver, desk.inputs.Type(request))
    assert Decoder("us", caps=True).read(Event(*event) for event in shifted) == "aB"
    assert Decoder("us", caps=True).read(Event(*event) for event in tapped) == "aB"
    assert shifted != tapped


async def test_keys_that_are_held_count(desk: Desk) -> None:
    """Small letters can't be typed while somebody holds Shift, and the error says so."""
    stream = desk.inputs.Inject()
    await stream.write(request(1, (KEY, SHIFT, 1)))
    await stream.read()
    info = await desk.inputs.GetInfo(pb.GetInfoRequest())
    assert list(info.keys_held) == [SHIFT]
    error = await error_of(desk.inputs.Type(pb.TypeRequest(text="a")))
    assert isinstance(error, UntypableText)
    assert "KEY_LEFTSHIFT is held" in error.message
    stream.cancel()


async def test_a_chord_is_pressed(desk: Desk) -> None:
    """In order, and released in reverse; as often as it is asked."""
    async with desk.driven() as driver:
        request = pb.KeyRequest(chords=["ctrl+alt+delete"], count=2, sending=DELIVER)
        answer, got = await take_while(driver, desk.inputs.Key(request))
    keys = [code_of(name)[1] for name in ("KEY_LEFTCTRL", "KEY_LEFTALT", "KEY_DELETE")]
    once = [(KEY, key, 1) for key in keys] + [(KEY, key, 0) for key in reversed(keys)]
    assert got == once * 2
    assert len(answer.sent.packets) == 12


@pytest.mark.parametrize("desk", ["mouse"], indirect=True)
async def test_a_mouse_clicks_and_moves(desk: Desk) -> None:
    """A double click; and a way in steps that add up to it."""
    async with desk.driven() as driver:
        click = pb.ClickRequest(count=2, hold_us=0, interval_us=0, sending=DELIVER)
        _, clicked = await take_while(driver, desk.inputs.Click(click))
        by = pb.Distance(x=30, y=-10)
        move = pb.MoveRequest(by=by, duration_us=40_000, sending=DELIVER)
        _, moved = await take_while(driver, desk.inputs.Move(move))
    assert clicked == [(KEY, LEFT, 1), (KEY, LEFT, 0)] * 2
    assert sum(value for kind, code, value in moved if (kind, code) == (REL, X)) == 30
    assert sum(value for kind, code, value in moved if (kind, code) == (REL, Y)) == -10
    assert len(moved) > 2


@pytest.mark.parametrize("desk", ["tablet"], indirect=True)
async def test_a_tablet_clicks_and_moves_to_points(desk: Desk) -> None:
    """In units of its axes, and in parts of them."""
    axis = desk.model.personality.axes[ABS_X]
    async with desk.driven() as driver:
        at = pb.Point(x=1.0, y=0.0, unit=pb.UNIT_FRACTION)
        click = pb.ClickRequest(button="right", at=at, sending=DELIVER)
        _, clicked = await take_while(driver, desk.inputs.Click(click))
        move = pb.MoveRequest(to=pb.Point(x=100, y=200), sending=DELIVER)
        _, moved = await take_while(driver, desk.inputs.Move(move))
    right = code_of("BTN_RIGHT")[1]
    assert clicked == [
        (ABS, ABS_X, axis.maximum), (ABS, ABS_Y, 0), (KEY, right, 1), (KEY, right, 0),
    ]  # fmt: skip
    assert moved == [(ABS, ABS_X, 100), (ABS, ABS_Y, 200)]


REFUSALS = [
    ("mouse", "Type", pb.TypeRequest(text="a"), BadEvent, "dev can't type: it is a mouse"),
    ("tablet", "Type", pb.TypeRequest(text="a"), BadEvent, "dev can't type: it is a tablet"),
    ("keyboard", "Click", pb.ClickRequest(), BadEvent, "dev has no BTN_LEFT"),
    ("keyboard", "Move", pb.MoveRequest(by=pb.Distance(x=1)), BadEvent, "dev can't move by"),
    ("keyboard", "Move", pb.MoveRequest(), BadEvent, "has no way"),
    ("tablet", "Move", pb.MoveRequest(by=pb.Distance(x=1)), BadEvent, "dev can't move by"),
    ("mouse", "Move", pb.MoveRequest(to=pb.Point()), BadEvent, "dev can't move to a point"),
    ("multitouch", "Move", pb.MoveRequest(to=pb.Point()), BadEvent, "touch it by Inject"),
    ("tablet", "Move", pb.MoveRequest(to=pb.Point(x=1e9)), BadEvent, "ABS_X is from 0 to"),
    ("tablet", "Move", pb.MoveRequest(to=pb.Point(x=float("nan"))), BadEvent, "is no point"),
    (
        "tablet", "Move", pb.MoveRequest(to=pb.Point(x=1.5, unit=pb.UNIT_FRACTION)), BadEvent,
        "outside the axes",
    ),
    ("tablet", "Move", pb.MoveRequest(to=pb.Point(x=1e300)), BadEvent, "is no point"),
    ("tablet", "Click", pb.ClickRequest(at=pb.Point(x=1, y=-3e9)), BadEvent, "is no point"),
    ("tablet", "Move", pb.MoveRequest(to=pb.Point(unit=9)), BadEvent, "unit is 9"),  # type: ignore[arg-type]
    (
        "keyboard", "Key", pb.KeyRequest(chords=["a"], sending=pb.Sending(overflow=9)), BadEvent,  # type: ignore[arg-type]
        "overflow is 9",
    ),
    ("keyboard", "Key", pb.KeyRequest(), BadEvent, "1 to 256 chords"),
    ("keyboard", "Key", pb.KeyRequest(chords=["ctrl+spam"]), UnknownKey, "'spam'"),
    ("keyboard", "Key", pb.KeyRequest(chords=["a"], count=1001), BadEvent, "count of 1001"),
    ("keyboard", "Key", pb.KeyRequest(chords=["a+" * 200]), BadEvent, "too long"),
    ("keyboard", "Key", pb.KeyRequest(chords=["a"], hold_us=61_000_000), BadEvent, "61.0 s"),
    ("keyboard", "Type", pb.TypeRequest(text="a" * 4097), BadEvent, "4097 characters"),
    ("keyboard", "Type", pb.TypeRequest(text="漢"), UntypableText, "'漢' (U+6F22)"),
    ("keyboard", "Type", pb.TypeRequest(text="a", layout="xx"), UntypableText, "no layout 'xx'"),
    ("keyboard", "Type", pb.TypeRequest(text="a", layout="x" * 65), BadEvent, "layout"),
    ("keyboard", "Type", pb.TypeRequest(text="a", locale="../x"), UntypableText, "locale"),
    (
        "keyboard", "Type", pb.TypeRequest(text="aa", interval_us=31_000_000), BadEvent, "62.0 s",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("desk", "method", "asked", "error", "words"),
    REFUSALS,
    indirect=["desk"],
    ids=[f"{one[0]}-{one[4][:20]}" for one in REFUSALS],
)
async def test_what_can_not_be_is_refused(
    desk: Desk, method: str, asked: Any, error: type[VirtmeshError], words: str
) -> None:
    """By the name of the device, before anything is sent."""
    failure = await error_of(getattr(desk.inputs, method)(asked))
    assert isinstance(failure, error)
    assert words in failure.message
    assert desk.model.injection.accepted == 0


async def test_a_deadline_ends_a_call(desk: Desk) -> None:
    """It holds nothing then, and others have their turn."""
    typing = desk.inputs.Type(pb.TypeRequest(text="ABCDEFGH"), timeout=0.3)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await typing
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    stream = desk.inputs.Inject()
    await stream.write(request(1, (KEY, SHIFT, 0)))
    async with desk.driven() as driver:
        got = await driver.take(2 * (WAITING + 2))
    assert (await stream.read()).outcome == pb.OUTCOME_ACCEPTED
    down: set[int] = set()
    for kind, code, value in got:
        if kind == KEY:
            (down.add if value else down.discard)(code)
    assert not down


async def test_a_client_that_goes_releases_its_keys(desk: Desk) -> None:
    """In the middle of a long press."""
    async with desk.driven() as driver:
        call = desk.inputs.Key(pb.KeyRequest(chords=["ctrl+a"], hold_us=30_000_000))
        assert len(await driver.take(4)) == 4
        call.cancel()
        got = await driver.take(3)
    assert [value for kind, _, value in got if kind == KEY] == [0, 0]


async def test_others_type_while_a_text_waits(desk: Desk) -> None:
    """Each packet of a long text takes its turn."""
    async with desk.driven() as driver:
        typing = asyncio.ensure_future(desk.inputs.Type(pb.TypeRequest(text="a" * 4096)))
        await driver.take(2)
        key = asyncio.ensure_future(desk.inputs.Key(pb.KeyRequest(chords=["b"])))
        b = code_of("KEY_B")[1]
        seen = 0
        while (KEY, b, 1) not in await driver.take(2):
            seen += 1
            assert seen < 4000
        typing.cancel()
        taking = asyncio.ensure_future(driver.take(1 << 20))
        await key
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)


async def test_a_cancelled_plan_holds_the_next_one_back(desk: Desk) -> None:
    """Its thread goes on: calls that are cancelled one after the other don't run side by side."""
    calls = unary_calls.UnaryCalls(desk.model, cast("Any", None), asyncio.Future())
    begun, go, seen = asyncio.Event(), threading.Event(), list[str]()
    loop = asyncio.get_running_loop()

    def first() -> Script:
        loop.call_soon_threadsafe(begun.set)
        go.wait()
        seen.append("first")
        raise BadEvent("nobody hears this")

    def second() -> Script:
        seen.append("second")
        return []

    cancelled = asyncio.ensure_future(calls.plan(first))
    await begun.wait()
    cancelled.cancel()
    waiting = asyncio.ensure_future(calls.plan(second))
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    loop.call_later(0.1, go.set)
    assert await waiting == []
    assert seen == ["first", "second"]


async def test_there_is_a_limit_of_calls(desk: Desk) -> None:
    """One too many is told so, and leaves the others alone."""
    calls = [
        desk.inputs.Key(pb.KeyRequest(chords=["a"], hold_us=30_000_000))
        for _ in range(DEFAULTS.input_scripts)
    ]
    async with desk.driven() as driver:
        # The driver sees the first press alone; the packets of the others are empty.
        await driver.take(1 + DEFAULTS.input_scripts)
    error = await error_of(desk.inputs.Key(pb.KeyRequest(chords=["b"])))
    assert isinstance(error, LimitReached)
    for call in calls:
        call.cancel()


async def test_the_time_of_a_call_ends(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a driver, with how far it came."""
    monkeypatch.setattr(unary_calls, "SECONDS_MAX", 2.0)  # a loaded host needs a part of it
    error = await error_of(desk.inputs.Type(pb.TypeRequest(text="a" * 20)))
    assert isinstance(error, DeviceNotReady)
    assert error.metadata["accepted"] == str(WAITING)


async def test_a_service_that_stops_ends_its_calls(desk: Desk) -> None:
    """At once."""
    call = asyncio.ensure_future(
        error_of(desk.inputs.Key(pb.KeyRequest(chords=["a"], hold_us=30_000_000)))
    )
    async with desk.driven() as driver:
        await driver.take(2)
    await desk.served.host.stop()
    assert isinstance(await call, ShuttingDown)
