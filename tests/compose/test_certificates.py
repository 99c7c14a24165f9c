"""The stack lets in who has a certificate of the authority that it made at its first start."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tests.compose.conftest import Stack
from tests.compose.containers import run_in
from virtmesh_client import Credentials, connect
from virtmesh_common.security.errors import HandshakeFailed, NotAllowed, NotAuthenticated

pytestmark = pytest.mark.docker


def test_plain_text_reaches_nothing(stack: Stack) -> None:
    """The error says how to log in."""
    with (
        connect(stack.address("kernel", 50051)) as machine,
        pytest.raises(HandshakeFailed, match="virtmesh login"),
    ):
        machine.devices()


def test_an_observer_reads_and_changes_nothing_until_it_is_revoked(stack: Stack) -> None:
    """On one connection, without a restart."""
    bundle = Credentials.from_bundle(stack.issue("watcher", "observer"))
    with connect(stack.address("kernel", 50051), credentials=bundle) as machine:
        assert machine.devices()
        with pytest.raises(NotAllowed):
            machine.disk("vda").write(0, bytes(512))

        stack.certs("revoke", "watcher")

        with pytest.raises(NotAuthenticated, match="revoked"):
            machine.devices()


def test_prometheus_gets_another_certificate_when_its_own_counts_no_more(stack: Stack) -> None:
    """At the next start of the stack, and not before."""

    def states() -> list[str]:
        listed = json.loads(stack.certs("list", "--json"))
        return [one["state"] for one in listed if one["name"] == "prometheus"]

    before = states()
    stack.once("prometheus-certificate")
    assert states() == before

    stack.certs("revoke", "prometheus")
    stack.once("prometheus-certificate")

    assert states() == ["revoked"] * len(before) + ["valid"]
    ends = [one["not_after"] for one in json.loads(stack.certs("list", "--json"))]
    assert max(ends)[:4] > str(datetime.now(UTC).year + 8)


def test_the_kernel_service_can_not_change_the_authority(stack: Stack) -> None:
    """Its volume is mounted to be read."""
    with pytest.raises(AssertionError, match="Read-only file system"):
        run_in(stack.services["kernel"], "touch", "/etc/virtmesh/security/revoked.json")
