"""What a guest's program has not read, as an injector works it out from lines of progress."""

from __future__ import annotations

from tests.support.riscv.injector import LOST_LINES, QUIET_LINES, Backlog


def read_lines(backlog: Backlog, events: int, lines: int) -> None:
    """Let so many lines of progress tell the same number of events."""
    for _ in range(lines):
        backlog.note_read(events, all_answered=True)


def test_a_program_without_processor_time_has_still_to_read_what_was_delivered() -> None:
    """Or an injector would send until evdev throws events away."""
    backlog = Backlog(needed=12)

    read_lines(backlog, 0, 10 * QUIET_LINES)

    assert backlog.unread == 12
    assert not backlog.is_quiet


def test_a_new_session_waits_for_what_the_old_one_delivered() -> None:
    """Events of unknown fate are told apart only when the others are read."""
    backlog = Backlog(needed=12)
    backlog.unsettle()

    read_lines(backlog, 4, 10 * QUIET_LINES)
    before = backlog.settled
    read_lines(backlog, 14, 1 + QUIET_LINES)

    assert not before
    assert backlog.settled
    assert backlog.unread == 0
    backlog.needed += 2
    assert backlog.unread == 2


def test_what_was_lost_is_not_waited_for_without_end() -> None:
    """The check of what arrived says then what is missing."""
    backlog = Backlog(needed=12)
    backlog.unsettle()

    read_lines(backlog, 4, 1 + LOST_LINES)

    assert backlog.is_quiet
    assert backlog.settled
