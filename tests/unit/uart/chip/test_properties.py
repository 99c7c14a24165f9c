"""What holds for any driver and any far end of the NS16550A."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.chip_rig import EIGHT_BITS, ChipRig
from virtmesh.host.batch import GUARD, WRITE, BatchExecutor
from virtmesh.uart.chip.interrupts import BY_PRIORITY
from virtmesh.uart.port import LINE_LIMIT, FarLines, Flow, LineError
from virtmesh_common.errors import RegisterError
from virtmesh_common.uart.errors import LineFull
from virtmesh_common.uart.spec import FIFO_SIZE, IIR_ID, Fcr, Iir, Lcr, Lsr, Mcr

Action = Callable[[ChipRig], object]

ENOUGH = 40
"""Character times in which FIFOs are full, or empty, and time out."""


def sending(size: int, error: LineError, flow: Flow) -> Action:
    """Put input on the line."""

    def act(bench: ChipRig) -> object:
        try:
            bench.send(bytes(index & 0xFF for index in range(size)), error, flow)
        except LineFull:
            return "full"
        return None

    return act


def accessing(offset: int, value: int | None) -> Action:
    """Read or write a register."""

    def act(bench: ChipRig) -> object:
        try:
            if value is None:
                return bench.device.read(offset, 1)
            bench.device.write(offset, 1, value)
        except RegisterError as error:
            return error.reason
        return None

    return act


def writing(name: str, value: int) -> Action:
    """Write a register by name, when DLAB does not hide it."""
    return lambda bench: bench.set(getattr(bench.registers, name), value)


sends = st.builds(
    sending,
    st.integers(0, 40),
    st.sampled_from([LineError.NONE, LineError.NONE, *LineError]),
    st.sampled_from(Flow),
)
passing = st.builds(lambda seconds: lambda bench: bench.clock.advance(seconds), st.floats(0, 0.02))
turning = st.just(lambda bench: bench.clock.turn())
lines = st.builds(
    lambda new: lambda bench: bench.line.set_lines(new),
    st.builds(FarLines, st.booleans(), st.booleans(), st.booleans(), st.booleans()),
)
resetting = st.just(lambda bench: bench.device.begin_reset())
accesses = st.builds(accessing, st.integers(0, 8), st.none() | st.integers(0, 256))
anything = st.lists(
    st.one_of(sends, sends, accesses, accesses, accesses, passing, turning, lines, resetting),
    max_size=60,
)


def check(bench: ChipRig) -> None:
    """Check what holds between any two accesses."""
    chip, line = bench.chip, bench.line
    receiver, transmitter = chip.receiver, chip.transmitter
    counters = bench.device.uart_counters
    assert 0 <= receiver.level <= receiver.capacity <= FIFO_SIZE
    assert 0 <= transmitter.level <= FIFO_SIZE
    assert 0 <= line.waiting <= LINE_LIMIT
    assert 0 <= chip.room <= receiver.room
    assert all(count >= 0 for count in asdict(counters).values())
    assert bool(receiver.status & Lsr.DR) == bool(receiver.level)
    status = bench.device.interrupt.status
    assert chip.interrupting == bool(status)
    enabled = sum(one.bit for one in BY_PRIORITY if one.enable & chip.read_ier())
    assert not status & ~enabled
    assert transmitter.level or transmitter.status & Lsr.THRE or chip.paced
    assert not (receiver.timed_out and not (receiver.fifo_enabled and receiver.level))


@settings(max_examples=100, deadline=None)
@given(st.booleans(), st.booleans(), anything)
def test_no_sequence_breaks_the_chip(
    pace: bool,  # noqa: FBT001 - hypothesis passes it by position
    auto_flow: bool,  # noqa: FBT001 - the same
    actions: list[Action],
) -> None:
    """Random accesses, input, lines, resets and time: what must hold, holds after each.

    In the end, nothing lies in the receiver that its driver is not told of.
    """
    bench = ChipRig(pace=pace, auto_flow=auto_flow)
    for act in actions:
        act(bench)
        check(bench)
    bench.pass_characters(ENOUGH)
    bench.clock.turn()
    receiver, stands_still = bench.chip.receiver, bench.chip.character_seconds is None
    assert receiver.available or receiver.timed_out or not receiver.level or stands_still
    lcr = bench.chip.read_lcr()
    bench.set(bench.registers.lcr, lcr & ~Lcr.DLAB)
    shown = bench.get(bench.registers.iir) & IIR_ID
    assert shown in set(Iir)


@settings(max_examples=40, deadline=None)
@given(st.booleans(), st.integers(1, 60), st.lists(st.integers(1, 200), max_size=8))
def test_a_sender_that_looks_is_heard_whole(
    pace: bool,  # noqa: FBT001 - as above
    baud_divisor: int,
    sizes: list[int],
) -> None:
    """Whatever the pace, what is sent is read, in order, and nothing else."""
    bench = ChipRig(pace=pace)
    bench.set_up(trigger=8)
    bench.set_divisor(baud_divisor)
    sent, received = bytearray(), bytearray()
    for size in sizes:
        data = bytes((len(sent) + index) & 0xFF for index in range(size))
        bench.send(data)
        sent += data
        received += bench.read_all()
        bench.pass_characters(size / 2)
        received += bench.read_all()
    for _ in range(len(sent)):
        bench.pass_characters(1)
        received += bench.read_all()
    assert received == sent


# -- Runs ---

prepared = st.lists(
    st.one_of(
        sends,
        turning,
        lines,
        st.sampled_from(
            [
                writing("ier", 0x00),
                writing("ier", 0x01),
                writing("ier", 0x07),
                writing("ier", 0x0F),
                writing("fcr", 0x00),
                writing("fcr", Fcr.FIFO_ENABLE),
                writing("fcr", 0xC1),
                writing("fcr", 0x83),
                writing("mcr", Mcr.LOOP),
                writing("mcr", Mcr.AFE | Mcr.RTS),
                writing("mcr", 0),
                writing("lcr", EIGHT_BITS | Lcr.SET_BREAK),
                writing("lcr", 0x01),
                writing("lcr", EIGHT_BITS),
            ]
        ),
    ),
    max_size=12,
)
runs = st.lists(
    st.tuples(st.sampled_from(["read", "write"]), st.integers(1, 50)) | st.just(("look", 1)),
    min_size=1,
    max_size=6,
)


def state_of(bench: ChipRig) -> dict[str, object]:
    """Return all that can be seen of a port, without touching it."""
    chip = bench.chip
    return {
        "sent": bytes(bench.sent),
        "counters": bench.device.uart_counters,
        "waiting": bench.line.waiting,
        "status": (chip.receiver.status, chip.transmitter.status),
        "levels": (chip.receiver.level, chip.transmitter.level),
        "interrupt": (bench.device.interrupt.status, bench.device.interrupt.sequence),
        "raised": dict(chip.interrupts.raised),
        "timed_out": chip.receiver.timed_out,
        "told": bench.told,
        "accesses": [(dict(file.reads), dict(file.writes)) for file in bench.device._window.files],
    }


def play(bench: ChipRig, what: str, count: int, *, in_runs: bool) -> list[int]:
    """Do equal accesses as one batch, or each as a batch of its own."""
    executor = BatchExecutor(bench.device)
    offset, op = {"read": (0, 1), "write": (0, 1 | WRITE), "look": (5, 1)}[what]
    values = [index * 37 & 0xFF if op & WRITE else 0 for index in range(count)]
    if in_runs:
        return executor.execute([offset] * count, [op] * count, values).values
    return [executor.execute([offset], [op], [value]).values[0] for value in values]


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.booleans(), prepared, runs)
def test_a_run_has_the_effects_of_single_accesses(
    pace: bool,  # noqa: FBT001 - as above
    auto_flow: bool,  # noqa: FBT001 - as above
    preparation: list[Action],
    accesses_in_order: list[tuple[str, int]],
) -> None:
    """Values, FIFOs, counters, interrupts and timeouts are the same, in one piece or one by one."""
    benches = [ChipRig(pace=pace, auto_flow=auto_flow) for _ in range(2)]
    for act in preparation:
        for bench in benches:
            act(bench)
    for what, count in accesses_in_order:
        values = [
            play(bench, what, count, in_runs=in_runs)
            for bench, in_runs in zip(benches, (True, False), strict=True)
        ]
        assert values[0] == values[1]
        assert state_of(benches[0]) == state_of(benches[1])
    for bench in benches:
        bench.clock.turn()
    assert state_of(benches[0]) == state_of(benches[1])


# -- Cycles ---

masks = st.sampled_from([0, Lsr.DR, Lsr.THRE, 0x9E, 0x0F, 0xFF])
guards = st.lists(
    st.tuples(st.sampled_from([2, 5, 5, 0, 6]), masks, masks | st.just(Iir.RECEIVED_DATA)),
    min_size=1,
    max_size=3,
)
cycles = st.tuples(
    guards,
    st.sampled_from([1, 1 | WRITE]),
    st.integers(1, 20),
    st.integers(2, 5),
    st.integers(0, 3),
)
listening = [writing("fcr", 0xC1), writing("ier", 0x05), sending(100, LineError.NONE, Flow.WAIT)]
usual = st.sampled_from(
    [
        ([(2, 0x0F, Iir.RECEIVED_DATA), (5, 0x9E, 0)], 1, 14, 6, 1),
        ([(5, Lsr.THRE, Lsr.THRE)], 1 | WRITE, 16, 4, 5),
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    st.booleans(),
    st.booleans(),
    prepared | prepared.map(lambda acts: [*listening, *acts]),
    st.lists(usual | cycles, min_size=1, max_size=4),
)
def test_cycles_have_the_effects_of_single_accesses(
    pace: bool,  # noqa: FBT001 - as above
    auto_flow: bool,  # noqa: FBT001 - as above
    preparation: list[Action],
    batches: list[tuple[list[tuple[int, int, int]], int, int, int, int]],
) -> None:
    """So many guards and as many accesses, again and again: as each access in a batch of its own.

    The first guard that is not met ends either.
    """
    benches = [ChipRig(pace=pace, auto_flow=auto_flow) for _ in range(2)]
    for act in preparation:
        for bench in benches:
            act(bench)
    for conditions, op, length, times, rest in batches:
        cycle = [(at, 1 | GUARD, mask << 32 | wanted) for at, mask, wanted in conditions]
        data = [index * 37 & 0xFF if op & WRITE else 0 for index in range(length * times)]
        batch = []
        for start in range(0, len(data), length):
            batch += [*cycle, *((0, op, value) for value in data[start : start + length])]
        batch += [*cycle, *((0, op, 7) for _ in range(rest))][: rest + len(cycle) - 1]
        whole = BatchExecutor(benches[0].device).execute(*map(list, zip(*batch, strict=True)))
        values, writes = [], 0
        for access in batch:
            done = BatchExecutor(benches[1].device).execute(*([column] for column in access))
            values += done.values
            writes += done.writes
            if done.ended:
                break
        assert (whole.values, whole.writes) == (values, writes)
        assert state_of(benches[0]) == state_of(benches[1])
    for bench in benches:
        bench.clock.turn()
    assert state_of(benches[0]) == state_of(benches[1])
