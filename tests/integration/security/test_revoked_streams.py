"""Streams of callers that count no more: they end, and the service goes on."""

from __future__ import annotations

from typing import Any, cast

import grpc
import pytest

from tests.support.secured import SECONDS, Keyboard, People
from virtmesh_common.security.roles import Role

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

WATCH = "/virtmesh.input.v1.InputService/WatchOutput"
INJECT = "/virtmesh.input.v1.InputService/Inject"
TIMES = 30


def opened(channel: grpc.Channel, method: str, metadata: Any = ()) -> Any:
    """Begin a stream, which goes on."""
    multicall: Any = channel.stream_stream(method)
    call = multicall(waiting(), timeout=SECONDS, metadata=metadata)
    call.initial_metadata()
    assert call.is_active()
    return call


def waiting() -> Any:
    """Send an empty message, and stay silent."""
    import threading  # noqa: PLC0415

    yield b""
    threading.Event().wait(SECONDS)


def end_of(call: Any) -> tuple[str, str]:
    """Wait for the end of a stream; return the name of its status and its text."""
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    status = cast("grpc.Call", caught.value)
    return status.code().name, status.details() or ""


def test_a_stream_ends_when_its_certificate_is_revoked(keyboard: Keyboard, people: People) -> None:
    """Others go on."""
    leaver, stayer = people.issue(Role.OBSERVER, "leaver"), people.bundles[Role.OBSERVER]
    with keyboard.channel(leaver) as channel, keyboard.channel(stayer) as other:
        ended, stays = opened(channel, WATCH), opened(other, WATCH)
        people.authority.revoke("leaver")
        code, text = end_of(ended)

        assert code == "UNAUTHENTICATED"
        assert "of leaver was revoked" in text
        assert stays.is_active()
        stays.cancel()


def test_a_stream_ends_when_its_token_is_revoked(keyboard: Keyboard, people: People) -> None:
    """The next call of the same connection with another token is served."""
    token, other = people.token(Role.INJECTOR, "leaver"), people.token(Role.INJECTOR)
    with keyboard.tokens() as channel:
        call = opened(channel, WATCH, (("authorization", f"Bearer {token}"),))
        people.tokens.revoke("leaver")
        code, text = end_of(call)
        opened(channel, WATCH, (("authorization", f"Bearer {other}"),)).cancel()

    assert code == "UNAUTHENTICATED"
    assert "of leaver is revoked" in text


def test_a_list_that_can_not_be_read_lets_nobody_in(keyboard: Keyboard, people: People) -> None:
    """What was revoked must not come back because a file is damaged; when it is mended, all is."""
    path = people.folder / "revoked.json"
    content = path.read_bytes()
    with keyboard.channel(people.bundles[Role.OWNER]) as channel:
        call = opened(channel, WATCH)
        path.write_bytes(b"{")
        code, _ = end_of(call)
        path.write_bytes(content)
        opened(channel, WATCH).cancel()

    assert code == "UNAUTHENTICATED"


def test_the_audit_says_who_did_what(keyboard: Keyboard, people: People) -> None:
    """The first at once, with its outcome, and not the others; a read is not in it.

    Who repeats a call into a new period is in it again.
    """
    bundle = people.issue(Role.INJECTOR, "alice")
    with keyboard.channel(bundle) as channel:
        release: Any = channel.unary_unary("/virtmesh.input.v1.InputService/ReleaseAll")
        for _ in range(TIMES):
            release(b"", timeout=SECONDS)
        read: Any = channel.unary_unary("/virtmesh.input.v1.InputService/GetInfo")
        read(b"", timeout=SECONDS)
        reset: Any = channel.unary_unary("/virtmesh.device.v1.DeviceService/Reset")
        with pytest.raises(grpc.RpcError):
            reset(b"", timeout=SECONDS)

    refused = keyboard.line(
        "call", logger="virtmesh.audit", identity="alice", outcome="PERMISSION_DENIED"
    )
    audited = keyboard.lines("call", logger="virtmesh.audit", identity="alice")
    serial = refused["serial"]

    assert {(one["rpc"], one["outcome"]) for one in audited} == {
        ("/virtmesh.input.v1.InputService/ReleaseAll", "OK"),
        ("/virtmesh.device.v1.DeviceService/Reset", "PERMISSION_DENIED"),
    }
    assert len(audited) < TIMES
    assert {one["role"] for one in audited} == {"injector"}
    assert {one["by"] for one in audited} == {"certificate"}
    assert {one["device"] for one in audited} == {"keyboard"}
    assert refused["reason"] == "NOT_ALLOWED"
    assert serial in {one.serial for one in people.authority.issued() if one.name == "alice"}


def test_a_stream_is_in_the_audit_when_it_begins(keyboard: Keyboard, people: People) -> None:
    """One that holds a key for hours is known before it ends."""
    with keyboard.channel(people.issue(Role.INJECTOR, "bob")) as channel:
        call = opened(channel, INJECT)
        begun = keyboard.line("call", logger="virtmesh.audit", identity="bob")
        call.cancel()

    assert (begun["rpc"], begun["outcome"]) == (INJECT, "BEGUN")
