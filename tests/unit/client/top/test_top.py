"""Rates between two samples of a machine, and how they are spelled in 80 columns."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from tests.support.interfaces import TOY
from tests.support.trace_events import DRIVER, Tape, block_write
from virtmesh_client.cli.top.show import (
    NAME_WIDTH,
    draw,
    draw_details,
    spell_count,
    spell_latency,
    spell_sample,
)
from virtmesh_client.models import DeviceInfo
from virtmesh_client.top.rates import SORTS, Row, percentile, rows_between, sort_rows
from virtmesh_client.top.sample import (
    EVENTS_MAX,
    OPEN_MAX,
    DeviceSample,
    Latencies,
    Sample,
    values_of,
)
from virtmesh_client.trace.events import Event
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.interface import FigureInfo, MetricType

COMMON = (
    "mmio_reads",
    "mmio_writes",
    "notifications_eventfd",
    "notifications_mmio",
    "notifications_rpc",
    "interrupts",
    "interrupts_suppressed",
    "requests",
)


DISK_FIGURES = (
    *(
        FigureInfo(name, MetricType.COUNTER, "requests", labels=(("type", name),))
        for name in ("IN", "OUT")
    ),
    FigureInfo("errors", MetricType.COUNTER, "requests", is_total=True),
    FigureInfo("bytes", MetricType.COUNTER, "bytes"),
    FigureInfo("in flight", MetricType.GAUGE, "requests"),
)
PORT_FIGURES = (
    FigureInfo("in", MetricType.COUNTER, "bytes"),
    FigureInfo("out", MetricType.COUNTER, "bytes"),
    FigureInfo("waiting", MetricType.GAUGE, "bytes"),
    FigureInfo("overruns", MetricType.COUNTER, "characters", is_total=True),
)


def device(name: str = "vda", device_id: int = 2, compatible: str = "virtio,mmio") -> DeviceInfo:
    """Describe a device that is in use."""
    return DeviceInfo(
        name=name,
        state="ready",
        detail="",
        compatible=compatible,
        mmio_address=0,
        irq=1,
        virtio_device_id=device_id,
        driver="VirtIOBlk",
        features=(),
        doorbell="eventfd",
        interrupts=0,
        requests=0,
        endpoint="",
    )


def counters(**changed: int) -> dict[str, int]:
    """Make the counters that every device has."""
    return dict.fromkeys(COMMON, 0) | changed


def disk(own: int = 0, **changed: int) -> DeviceSample:
    """Make a sample of a disk that has moved some bytes."""
    totals = {"in flight": 3.0, "errors": 0.0, "bytes": float(own), "IN": own // 512, "OUT": 0.0}
    return DeviceSample(
        device(), 0.0, ("DRIVER_OK",), "", counters(**changed), "blk", DISK_FIGURES, totals
    )


def toy(**own: float) -> DeviceSample:
    """Make a sample of a device that nobody has heard of."""
    info = device("toy", 77)
    return DeviceSample(info, 0.0, (), "", counters(), TOY.kind, TOY.figures, own)


def details(found: Row) -> str:
    """Draw the line of a device below the table."""
    return draw_details(found).plain[NAME_WIDTH + 1 :].partition("  ")[2]


def row(before: DeviceSample, after: DeviceSample, seconds: float = 2.0) -> Row:
    """Return the only row of two samples."""
    before, after = replace(before, time=10.0), replace(after, time=10.0 + seconds)
    (found,) = rows_between(Sample(9.0, "test", (before,)), Sample(11.0, "test", (after,)))
    return found


def test_rates_are_per_second() -> None:
    """Whatever the interval."""
    after = disk(
        8192,
        requests=20,
        interrupts=6,
        interrupts_suppressed=2,
        notifications_eventfd=3,
        notifications_mmio=2,
        notifications_rpc=1,
        mmio_reads=1,
        mmio_writes=3,
    )
    found = row(disk(), after)
    assert (found.requests, found.bytes, found.interrupts) == (10.0, 4096.0, 3.0)
    assert (found.notifications, found.mmio, found.interrupts_suppressed) == (3.0, 2.0, 0.25)
    assert found.own["IN"] == 8.0
    assert found.in_flight == 3


def test_each_device_has_rates_over_its_own_time() -> None:
    """One that is slow to answer does not make those after it look busier."""
    first, second = disk(), replace(disk(), info=device("vdb"))
    done = counters(requests=20)
    before = Sample(0.0, "test", (replace(first, time=0.0), replace(second, time=0.0)))
    after = (replace(first, time=1.0, counters=done), replace(second, time=4.0, counters=done))
    rows = rows_between(before, Sample(1.0, "test", after))
    assert [one.requests for one in rows] == [20.0, 5.0]


def test_a_device_that_counts_anew_has_no_rates_yet() -> None:
    """Its service was restarted."""
    found = row(disk(requests=100), disk(requests=1))
    assert (found.requests, found.own) == (None, {})


def test_a_device_that_does_not_answer_is_lost_and_says_why() -> None:
    """The others are not touched by it."""
    found = row(disk(), replace(disk(), gone="its process ended", counters={}))
    assert (found.state, found.why, found.requests) == ("lost", "its process ended", None)


def test_a_device_that_is_new_has_no_rates_yet() -> None:
    """It has no sample before."""
    (found,) = rows_between(Sample(1.0, "test"), Sample(2.0, "test", (disk(requests=5),)))
    assert found.requests is None


def test_a_serial_port_moves_the_bytes_of_both_ways() -> None:
    """Received and transmitted."""
    info = device("serial", 0, "ns16550a")
    port = DeviceSample(info, 0.0, counters=counters(), kind="uart", figures=PORT_FIGURES)
    before = replace(port, own={"in": 0, "out": 0, "waiting": 5, "overruns": 2})
    after = replace(port, own={"in": 10, "out": 4, "waiting": 1234567, "overruns": 3})
    found = row(before, after)
    assert (found.bytes, found.kind) == (7.0, "uart")
    assert details(found) == "in 5.0B/s, out 2.0B/s, waiting 1234567 B, overruns 3"


def test_of_a_disk_the_requests_that_it_executes_are_told() -> None:
    """What has a column of its own is not repeated below."""
    assert details(row(disk(), disk(8192))) == "IN 8.0/s, errors 0"


def test_a_device_that_nobody_has_heard_of_has_a_row() -> None:
    """Counters as rates, gauges and what should be 0 as they are, in its own words."""
    before = toy(tunes=1, played=100, loud=0, playing=0, warmth=20.5, broke=1)
    after = toy(tunes=9, played=1100, loud=0, playing=2, warmth=21.25, broke=1)
    found = row(before, after)
    assert (found.kind, found.bytes, found.in_flight) == ("toy", 500.0, 2)
    assert details(found) == "tunes 4.0/s, warmth 21.25, broke 1"
    assert found.own == {"tunes": 4.0, "played": 500.0, "loud": 0.0, "broke": 0.0}
    spelled = json.loads(json.dumps(spell_sample(Sample(0.0, "test"), [found])))
    assert spelled["devices"][0]["totals"]["warmth"] == 21.25


def test_a_device_that_has_nothing_to_show_has_a_row_too() -> None:
    """With what every device counts."""
    silent = DeviceSample(device("odd", 77), 0.0, counters=counters())
    found = row(silent, replace(silent, counters=counters(requests=4)))
    assert (found.kind, found.requests, found.bytes, found.in_flight) == ("", 2.0, None, None)
    assert details(found) == ""


def test_values_that_are_no_figures_are_left_out() -> None:
    """A device can say anything: an endless list of labels, or what is no number."""
    stats = device_pb2.GetStatsResponse()
    for label, value in (("tunes", 3.0), ("warmth", math.nan), ("played", math.inf), ("x", 1.0)):
        stats.figures.add(label=label, value=value)
    assert values_of(TOY, stats) == {"tunes": 3.0}


@pytest.mark.parametrize(
    ("values", "percent", "found"),
    [
        ((), 50, None),
        ((7,), 99, 7),
        ((1, 2), 50, 1),
        ((1, 2, 3), 50, 2),
        (range(1, 101), 99, 99),
    ],
)
def test_percentiles_are_those_of_the_nearest_rank(
    values: tuple[int, ...], percent: int, found: int | None
) -> None:
    """A value that was measured, not one in between."""
    assert percentile(values, percent) == found


def test_latencies_are_those_of_requests_that_ended() -> None:
    """One that began in the sample before counts in the one in which it ends."""
    driver, other = Tape(DRIVER), Tape(DRIVER)
    events = [one for one in block_write(1, 1000, driver, other) if one.kind != "pop_used"]
    latencies = Latencies()
    assert latencies.of(events) == ()
    assert latencies.of([driver("pop_used", at=5000, token=1)]) == (4000,)
    assert latencies.of([driver("pop_used", at=6000, token=1)]) == ()


@pytest.mark.parametrize("end", [2 * EVENTS_MAX, 5], ids=["too many events", "restarted"])
def test_a_request_that_ended_among_events_left_out_does_not_count(end: int) -> None:
    """Its token is used again: the later request did not take as long as from the first on."""
    driver = Tape(DRIVER)
    latencies = Latencies()
    latencies.of([driver("add", at=1000, token=1)])
    latencies.following = 10
    assert latencies.begin(10 + EVENTS_MAX) == 10
    assert latencies.begin(end) == max(end - EVENTS_MAX, 0)
    assert latencies.of([driver("pop_used", at=9000, token=1)]) == ()


def test_requests_that_never_end_do_not_pile_up() -> None:
    """The oldest are forgotten, and all of them with their driver."""
    driver = Tape(DRIVER)
    latencies = Latencies()
    latencies.of(driver("add", token=token) for token in range(OPEN_MAX + 1))

    def ended(*events: Event) -> int:
        return len(latencies.of(events))

    assert ended(driver("pop_used", token=0)) == 0
    assert ended(driver("pop_used", token=1)) == 1
    assert ended(driver("attach"), driver("pop_used", token=2)) == 0


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        (None, "-"),
        (0, "0"),
        (0.24, "0.2"),
        (9.96, "10"),
        (9999, "9999"),
        (10_000, "10.0k"),
        (123_456, "123k"),
        (12_345_678, "12.3M"),
        (10.0**19, "10000P"),
    ],
)
def test_numbers_are_short(value: float | None, spelled: str) -> None:
    """Five characters, up to what no machine reaches."""
    assert spell_count(value) == spelled


@pytest.mark.parametrize(
    ("value", "spelled"),
    [(None, "-"), (1500, "2us"), (9_999_000, "9999us"), (10**7, "10ms"), (10**10, "10s")],
)
def test_latencies_are_short(value: int | None, spelled: str) -> None:
    """In the unit that fits."""
    assert spell_latency(value) == spelled


def test_the_busiest_machine_fits_80_columns() -> None:
    """No line is wider, and no cell of the table is cut off."""
    busy = Row(
        name="a-device-with-a-long-name",
        state="probing",
        driver="VirtIOBlk",
        status=("DRIVER_OK",),
        requests=999_999,
        bytes=99.9e9,
        in_flight=128,
        p50_ns=9_999_000,
        p99_ns=9_999_000_000,
        interrupts=999_999,
        interrupts_suppressed=1.0,
        notifications=999_999,
        mmio=999_999,
        why="why " * 40,
    )
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(draw(Sample(0.0, "test"), [busy], "unix:" + "long/" * 40))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) == 4
    cells = "probing 1000k 99.9G 128 9999us 9999ms 1000k 100% 1000k 1000k"
    assert lines[2].split()[1:] == cells.split()


def test_a_machine_that_is_gone_is_shown_with_what_was_last_known() -> None:
    """And why it does not answer."""
    console = Console(width=80, color_system=None)
    rows = [row(disk(), disk(requests=4))]
    with console.capture() as capture:
        console.print(draw(Sample(0.0, gone="nobody\x1b[2J there"), rows, "unix:x"))
    text = capture.get()
    assert "no answer: nobody\\x1b[2J there" in text
    assert "vda" in text


def test_what_a_machine_says_of_a_device_does_not_reach_the_terminal_as_it_is() -> None:
    """Its state and the name of its driver are texts of others."""
    hostile = replace(row(disk(), disk()), state="a\x1b[2J", driver="b\x1b[2J")
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(draw(Sample(0.0), [hostile], "unix:x"))
    assert "\x1b" not in capture.get()


def test_rows_are_sorted_with_the_busiest_first() -> None:
    """Those without a value last."""
    rows = [replace(row(disk(), disk(requests=count)), name=str(count)) for count in (2, 8, 4)]
    idle = replace(rows[0], name="idle", requests=None)
    assert [one.name for one in sort_rows([idle, *rows], "requests")] == ["8", "4", "2", "idle"]
    for order in SORTS:
        assert len(sort_rows([idle, *rows], order)) == 4


def test_a_screen_is_an_object_too() -> None:
    """For programs."""
    sample = Sample(0.0, "test")
    spelled = json.loads(json.dumps(spell_sample(sample, [row(disk(), disk(requests=4))])))
    assert spelled["answers"] is True
    assert spelled["devices"][0]["requests"] == 2.0
