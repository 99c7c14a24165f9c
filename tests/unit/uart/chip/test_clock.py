"""Alarms of a device: in the order of their times, each as of its own time."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.line_end import LineEnd
from virtmesh.testing.manual_clock import ManualClock
from virtmesh.uart.chip.clock import Timeline
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh_common.uart.spec import Registers

REGISTERS = Registers()
FAST = 24_000_000
"""A clock with which a test needs to wait for little, in Hz."""


def test_alarms_run_in_the_order_of_their_times() -> None:
    """However late the loop is, each sees its own time."""
    clock = ManualClock()
    timeline = Timeline(clock)
    seen: list[tuple[str, float]] = []
    late = timeline.alarm(lambda: seen.append(("late", timeline.now)))
    early = timeline.alarm(lambda: seen.append(("early", timeline.now)))
    late.set(2)
    early.set(1)
    clock.jump(10)
    timeline.run_due()
    assert (seen, timeline.now) == ([("early", 1.0), ("late", 2.0)], 10)


def test_an_alarm_set_by_another_runs_if_it_is_due() -> None:
    """A chain of events is caught up with at once, without drift."""
    clock = ManualClock()
    timeline = Timeline(clock)
    seen: list[float] = []

    def again() -> None:
        seen.append(timeline.now)
        alarm.set(1)

    alarm = timeline.alarm(again)
    alarm.set(1)
    clock.advance(2.5)
    clock.jump(1)
    timeline.run_due()
    assert seen == [1, 2, 3]


def test_setting_an_alarm_sets_it_anew() -> None:
    """It runs once, at the last time that it was set to."""
    clock = ManualClock()
    timeline = Timeline(clock)
    seen: list[float] = []
    alarm = timeline.alarm(lambda: seen.append(timeline.now))
    alarm.set(1)
    alarm.soon()
    alarm.set(3)
    clock.turn()
    clock.advance(5)
    assert seen == [3]


def test_a_cancelled_alarm_does_not_run() -> None:
    """Neither at its time nor on the next turn."""
    clock = ManualClock()
    timeline = Timeline(clock)
    seen: list[float] = []
    alarms = [timeline.alarm(lambda: seen.append(timeline.now)) for _ in range(2)]
    alarms[0].set(1)
    alarms[1].soon()
    for alarm in alarms:
        alarm.cancel()
    clock.turn()
    clock.advance(5)
    assert not seen


def test_a_clock_that_calls_early_is_asked_again() -> None:
    """Timers of real loops are rounded; nothing is forgotten."""
    clock = ManualClock()
    timeline = Timeline(clock)
    seen: list[float] = []
    timeline.alarm(lambda: seen.append(timeline.now)).set(1)
    clock._calls[0].when = 0.5
    clock.advance(0.5)
    assert not seen
    clock.advance(0.5)
    assert seen == [1]


@pytest.mark.parametrize("hertz", [FAST, 133_333_333, (1 << 32) - 1])
async def test_a_paced_port_runs_on_the_event_loop(hertz: int) -> None:
    """Without anybody touching a register, characters go out and come in at their time."""
    device = UartDevice("serial", UartOptions(pace=True, clock=hertz))
    end = LineEnd(device.line)
    divisor = min(hertz // (16 * 1200), 0xFFFF)
    setting = (
        *((REGISTERS.lcr, 0x83), (REGISTERS.dll, divisor & 0xFF), (REGISTERS.dlm, divisor >> 8)),
        *((REGISTERS.lcr, 3), (REGISTERS.fcr, 0xC1), (REGISTERS.ier, 1)),
    )
    for register, value in setting:
        device.write(register.offset, 1, value)
    for character in b"hello":
        device.write(REGISTERS.thr.offset, 1, character)
    device.line.send_now(b"hi")
    before = bytes(end.heard)
    heard = await asyncio.wait_for(end.until(5), 10)
    assert (before != b"hello", heard, device.chip.receiver.level) == (True, b"hello", 2)
