"""Methods that there are not: who may call nothing does not learn even that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from tests.support.secured import Keyboard, People, status_of
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

METHODS = (
    "/virtmesh.device.v1.DeviceService/Nothing",
    "/virtmesh.block.v1.BlockAdminService/Resize",
    "/nobody.v1.NobodyService/Nothing",
    "/",
)
"""One of a service that is there, one of another kind of device, one of nobody, and no name."""


def statuses(channel: grpc.Channel, metadata: Sequence[tuple[str, str]] = ()) -> list[str]:
    """Call all of them; return the statuses."""
    return [status_of(channel, method, metadata)[0] for method in METHODS]


def test_a_caller_without_a_token_learns_nothing(keyboard: Keyboard) -> None:
    """Neither by a wrong one."""
    wrong = (("authorization", "Bearer vmt_0123456789ab_" + "A" * 32),)
    with keyboard.tokens() as channel:
        assert statuses(channel) == ["UNAUTHENTICATED"] * len(METHODS)
        assert statuses(channel, wrong) == ["UNAUTHENTICATED"] * len(METHODS)


def test_nor_does_a_revoked_certificate(keyboard: Keyboard, people: People) -> None:
    """On a connection that was open before."""
    with keyboard.channel(people.issue(Role.OWNER, "prober")) as channel:
        before = statuses(channel)
        people.authority.revoke("prober")
        after = statuses(channel)

    assert before == ["UNIMPLEMENTED"] * len(METHODS)
    assert after == ["UNAUTHENTICATED"] * len(METHODS)


def test_who_has_an_identity_is_told(keyboard: Keyboard, people: People) -> None:
    """Whatever the role: an old service is told from one that refuses."""
    bearer = (("authorization", f"Bearer {people.token(Role.OBSERVER)}"),)
    with keyboard.tokens() as channel:
        assert statuses(channel, bearer) == ["UNIMPLEMENTED"] * len(METHODS)
    with grpc.insecure_channel(keyboard.address.roles[Role.OBSERVER]) as channel:
        status, text = status_of(channel, METHODS[0])

    assert status == "UNIMPLEMENTED"
    assert text == f"the service does not offer {METHODS[0]}"


def test_the_log_takes_no_names_that_a_caller_makes_up(keyboard: Keyboard) -> None:
    """A refusal is a line of the audit, and the method that there is not has no name in it."""
    with keyboard.tokens() as channel:
        for number in range(20):
            status_of(channel, f"/made.up.v1.Service/Method{number}")
    nobody = {"outcome": "UNAUTHENTICATED", "identity": "none"}

    assert keyboard.line("call", logger="virtmesh.audit", rpc="unknown", **nobody)
    assert "made.up" not in keyboard.log.read_text(encoding="utf-8")
