"""The filters of system calls, as data."""

from __future__ import annotations

import json
from typing import Any

import pytest
from virtmesh_native import check_filter

from virtmesh.kinds import all_kinds
from virtmesh.sandbox import Needs, system_calls
from virtmesh.sandbox.filters import EARLY, NAMES, spell_filters

PROCESSORS = ("x86_64", "aarch64", "riscv64")


def rules(needs: Needs, name: str) -> list[dict[str, Any]]:
    """Return the rules of a filter of the process 7."""
    filters: dict[str, Any] = json.loads(spell_filters(needs, "x86_64", 7))
    found: list[dict[str, Any]] = filters[name]["filter"]
    return found


def names(needs: Needs, name: str) -> set[str]:
    """Return the system calls of a filter that are judged by their names alone."""
    return {one["syscall"] for one in rules(needs, name) if "args" not in one}


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("connects", [False, True])
def test_every_name_is_known_on_every_processor(processor: str, *, connects: bool) -> None:
    """A name that is not would leave the service without filters there."""
    text = spell_filters(Needs(connects=connects, ioctls=(1,)), processor, 7)

    check_filter(text, processor)
    assert set(json.loads(text)) == {*EARLY, *NAMES}


def test_a_name_that_is_unknown_is_an_error() -> None:
    """So that the test above can fail."""
    text = spell_filters(Needs(system_calls=("no_such_call",)), "x86_64", 7)

    with pytest.raises(ValueError, match="no_such_call"):
        check_filter(text, "x86_64")


def test_no_call_is_in_two_lists() -> None:
    """What is allowed is neither refused nor the end of the process."""
    lists = (
        system_calls.ALLOWED,
        system_calls.REFUSED,
        system_calls.KILLED,
        system_calls.UNKNOWN,
        *(on["x86_64"] for on in (system_calls.ALLOWED_ON, system_calls.REFUSED_ON)),
        system_calls.KILLED_ON["x86_64"],
    )

    together = [name for one in lists for name in one]
    assert len(together) == len(set(together))


def test_rings_are_made_before_the_seal_only() -> None:
    """What goes through them is not seen by the filters."""
    making = {"io_uring_setup", "io_uring_register"}
    disk = Needs(system_calls=("io_uring_enter",), unsealed_calls=(*making,))

    assert names(Needs(), "early") == {"io_uring_enter", *making}
    assert names(disk, "early") == set()
    assert "io_uring_enter" in names(disk, "allowed")
    assert not making & names(disk, "allowed")


def test_who_makes_rings_makes_them_of_an_odd_number_of_entries() -> None:
    """The ring of libuv would be limited to nothing, and it asks for an even one."""
    disk = Needs(unsealed_calls=("io_uring_setup",))

    [rule] = [one for one in rules(disk, "early") if one["syscall"] == "io_uring_setup"]
    is_even = {"index": 0, "type": "dword", "op": {"masked_eq": 1}, "val": 0}
    assert rule["args"] == [is_even]


def test_only_who_connects_makes_sockets() -> None:
    """Nobody listens at a new place."""
    device, kernel = Needs(), Needs(connects=True)

    assert {"socket", "connect", "bind", "listen"} <= names(device, "refused")
    assert "listen" in names(kernel, "refused")
    assert not {"bind", "connect", "socket"} & names(kernel, "refused")


def test_what_a_kind_needs_is_allowed_and_nothing_else_changes() -> None:
    """Also what is refused, or the end of the process, otherwise."""
    needs = Needs(system_calls=("renameat2", "ptrace", "inotify_init1"))

    for name in ("refused", "killed"):
        assert names(Needs(), name) - names(needs, name) <= set(needs.system_calls)
    assert set(needs.system_calls) <= names(needs, "allowed")


def test_a_process_signals_itself_only() -> None:
    """By its own number."""
    judged = [one for one in rules(Needs(), "refused") if one["syscall"] in {"kill", "tgkill"}]

    assert {one["syscall"] for one in judged} == {"kill", "tgkill"}
    assert all((one["args"][0]["op"], one["args"][0]["val"]) == ("ne", 7) for one in judged)


def test_only_disks_control_devices() -> None:
    """A kind of this package that asks for more has to say why here."""
    options = {"image": "x", "personality": "keyboard"}
    asking = {
        kind.name: kind.needs(**options).ioctls
        for kind in all_kinds()
        if kind.needs is not None and kind.name in {"blk", "gpu", "input", "uart"}
    }

    assert asking == {"blk": (0x1277,), "input": (), "uart": ()}
