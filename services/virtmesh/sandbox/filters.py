"""The filters of a service, in the JSON form of the crate seccompiler."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any

from virtmesh.sandbox import system_calls as calls

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh.sandbox.needs import Needs

Rule = dict[str, Any]

EARLY = ("early",)
"""Names of the filters that are in force from the start."""
NAMES = ("killed", "refused", "allowed")
"""Names of the filters, in the order in which they are put in force: after the last, no filter can
be added."""


def spell_filters(needs: Needs, processor: str, pid: int) -> str:
    """Return the filters of a service whose process id is `pid`, for a processor such as x86_64."""
    wanted = {*needs.system_calls, *(calls.CONNECTING if needs.connects else ())}
    killed = {*calls.KILLED, *calls.KILLED_ON.get(processor, ())} - wanted
    refused = {*calls.REFUSED, *calls.REFUSED_ON.get(processor, ())} - wanted
    # To itself alone, as `abort` and `raise` do.
    to_others = [_where(name, 0, "ne", pid) for name in ("kill", "tgkill")]
    # What the other filters judge is let through here: of two error numbers, the later counts.
    allowed = {*calls.ALLOWED, *calls.ALLOWED_ON.get(processor, ()), *wanted}
    allowed |= {"kill", "tgkill", *refused, *killed}
    threads = {"masked_eq": calls.CLONE_THREAD | calls.CLONE_NEW}
    with_arguments = [
        _where("clone", 0, threads, calls.CLONE_THREAD),
        _where("prlimit64", 0, "eq", 0),
        *(_where("ioctl", 1, "eq", one) for one in (*calls.IOCTLS, *needs.ioctls)),
        *(_where("prctl", 0, "eq", one) for one in calls.PRCTLS),
    ]
    unknown = {*calls.UNKNOWN} - wanted - {*needs.unsealed_calls}
    # libuv asks for an even number of entries, and gets none: our own rings ask for an odd one.
    even = [_where(calls.MAKE_RING, 0, {"masked_eq": 1}, 0)]
    eperm, enosys = {"errno": errno.EPERM}, {"errno": errno.ENOSYS}
    return json.dumps(
        {
            "early": _filter(
                [*_plain(unknown), *([] if calls.MAKE_RING in unknown else even)],
                enosys,
                others="allow",
            ),
            "killed": _filter(_plain(killed), "kill_process", others="allow"),
            "refused": _filter([*_plain(refused), *to_others], eperm, others="allow"),
            "allowed": _filter([*_plain(allowed), *with_arguments], "allow", others=enosys),
        }
    )


def _filter(rules: list[Rule], matches: object, *, others: object) -> Rule:
    return {"mismatch_action": others, "match_action": matches, "filter": rules}


def _plain(names: Iterable[str]) -> list[Rule]:
    """Return rules for system calls, whatever their arguments are."""
    return [{"syscall": name} for name in sorted(names)]


def _where(name: str, index: int, operator: object, value: int) -> Rule:
    """Return the rule for a system call with a certain argument, of 32 bits."""
    condition = {"index": index, "type": "dword", "op": operator, "val": value}
    return {"syscall": name, "args": [condition]}
