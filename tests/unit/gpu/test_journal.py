"""What a GPU keeps of its driver's commands for the next process."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtmesh_native import GuestMemory

from virtmesh.gpu import journal
from virtmesh.gpu.journal import BYTES, Journal, Live, record_of
from virtmesh.mmio.inflight_logs import make_log_file
from virtmesh.mmio.kept_state import KeptState
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import Command

CREATE, UNREF, ATTACH, DETACH, SCANOUT, BLOB = (
    Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_2D,
    Command.VIRTIO_GPU_CMD_RESOURCE_UNREF,
    Command.VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING,
    Command.VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING,
    Command.VIRTIO_GPU_CMD_SET_SCANOUT,
    Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
)
ENTRY = spec.MEM_ENTRY.pack(0x8000_0000, 4096)


@pytest.fixture
def memory() -> GuestMemory:
    """Give memory of a driver."""
    descriptor = make_log_file(BYTES)
    memory = GuestMemory([(descriptor, 0, BYTES, 0)])
    os.close(descriptor)
    return memory


def opened(memory: GuestMemory) -> tuple[Journal, list[bytes]]:
    """Open the journal, as the next process does."""
    opened = Journal()
    return opened, opened.open(KeptState(memory, 0, BYTES))


def create(number: int) -> bytes:
    """Return the record of a resource."""
    return record_of(CREATE, spec.RESOURCE_CREATE_2D.pack(number, 1, 8, 8))


def show(number: int, scanout: int = 0) -> bytes:
    """Return the record of a scanout."""
    return record_of(SCANOUT, spec.SET_SCANOUT.pack(0, 0, 8, 8, scanout, number))


def test_a_command_that_was_not_answered_is_not_done_again(memory: GuestMemory) -> None:
    """It is recognised once, whatever follows it in its buffer."""
    first, _ = opened(memory)
    first.note(create(1))
    first.confirm(create(1))
    first.note(create(2))
    body = spec.RESOURCE_CREATE_2D.pack(2, 1, 8, 8) + b"garbage"

    second, records = opened(memory)
    assert records == [create(1), create(2)]
    assert second.has_pending
    assert second.repeats(CREATE, body)
    assert not second.has_pending
    third, _ = opened(memory)
    assert not third.has_pending


def test_a_command_that_was_answered_is_another_one_when_it_comes_again(
    memory: GuestMemory,
) -> None:
    """It is carried out, and refused if it must be."""
    first, _ = opened(memory)
    first.note(create(1))
    first.confirm(create(1))
    second, _ = opened(memory)
    assert not second.has_pending
    first.note(create(2))
    third, _ = opened(memory)
    assert third.has_pending
    assert not third.repeats(CREATE, spec.RESOURCE_CREATE_2D.pack(3, 1, 8, 8))


def test_page_flips_do_not_fill_the_memory(memory: GuestMemory) -> None:
    """The records that matter are written anew now and then."""
    kept, _ = opened(memory)
    for number in (1, 2):
        kept.note(create(number))
        kept.confirm(create(number))
    for turn in range(100_000):
        record = show(1 + turn % 2)
        kept.note(record)
        kept.confirm(record)
    state = KeptState(memory, 0, BYTES)
    assert state.length <= journal.REWRITE_BYTES + 64
    assert opened(memory)[1] == [create(1), create(2), show(2)]


def test_many_small_records_beside_large_ones(memory: GuestMemory) -> None:
    """Their number is bounded as well."""
    kept, _ = opened(memory)
    large = [record_of(ATTACH, spec.RESOURCE_ATTACH_BACKING.pack(1, 16384) + ENTRY * 16384)]
    for record in (create(1), *large * 8, *[show(1)] * 200_000):
        kept.note(record)
        kept.confirm(record)
    state = KeptState(memory, 0, BYTES)
    assert 0 < len(state.records(journal.RECORDS_MAX)) < journal.RECORDS_MAX
    assert opened(memory)[1] == [create(1), *large, show(1)]


def test_all_that_a_driver_can_have_has_room(memory: GuestMemory) -> None:
    """The most entries of all backings, and each of them changed once more."""
    kept, _ = opened(memory)
    entries = ENTRY * 16384
    records = [create(number) for number in range(1, 65)]
    for number in (*range(1, 65), *range(1, 65), *range(1, 65)):
        body = spec.RESOURCE_ATTACH_BACKING.pack(number, 16384) + entries
        records.append(record_of(ATTACH, body))
    for record in records:
        kept.note(record)
        kept.confirm(record)
    assert opened(memory)[1] == [*records[:64], *records[-64:]]


def test_a_reset_forgets_all(memory: GuestMemory) -> None:
    """And where the cursors are."""
    kept, _ = opened(memory)
    kept.note(create(1))
    kept.move_cursor(0, b"x" * spec.UPDATE_CURSOR.size)
    kept.clear()
    after, records = opened(memory)
    assert (records, after.has_pending) == ([], False)
    assert not any(after.cursor(0))


def test_what_somebody_else_wrote_there(memory: GuestMemory) -> None:
    """A record of no command: nothing is carried out."""
    state = KeptState(memory, 0, BYTES)
    for record in (b"", b"\xff" * 4, create(1)[:10]):
        state.rewrite([create(1), record])
        assert opened(memory)[1] == []


NUMBERS = st.integers(1, 4)
STEPS = st.lists(
    st.tuples(st.sampled_from([CREATE, UNREF, ATTACH, DETACH, SCANOUT, BLOB]), NUMBERS),
    max_size=40,
)


@given(steps=STEPS)
def test_what_matters_leads_to_the_same_state(steps: list[tuple[Command, int]]) -> None:
    """As all commands that were carried out, one after the other."""
    live, made, backed, shown = Live(), dict[int, Command](), set[int](), 0
    for command, number in steps:
        known = number in made
        if command in {CREATE, BLOB} and not known:
            made[number] = command
            backed |= {number} if command == BLOB else set()
            blob = spec.RESOURCE_CREATE_BLOB.pack(number, 1, 0, 1, 0, 4096) + ENTRY
            live.take(create(number) if command == CREATE else record_of(BLOB, blob))
        elif command == ATTACH and known and number not in backed:
            backed.add(number)
            body = spec.RESOURCE_ATTACH_BACKING.pack(number, 1) + ENTRY
            live.take(record_of(ATTACH, body))
        elif command == DETACH and number in backed:
            backed.discard(number)
            live.take(record_of(DETACH, spec.RESOURCE_ID.pack(number)))
        elif command == SCANOUT and known:
            shown = number
            live.take(show(number))
        elif command == UNREF and known:
            del made[number]
            backed.discard(number)
            shown = 0 if shown == number else shown
            live.take(record_of(UNREF, spec.RESOURCE_ID.pack(number)))
    found = [journal.COMMAND.unpack_from(record)[0] for record in live]
    assert found == [*made.values(), *[ATTACH] * len(backed), *[SCANOUT] * bool(shown)]
