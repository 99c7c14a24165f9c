"""Certificates that should not count, connections that are not what they should be."""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import pytest

from tests.support.cli import eventually
from tests.support.descriptors import many_descriptors
from tests.support.secured import Keyboard, People, channel_with, status_of
from virtmesh_common.limits import DEFAULTS
from virtmesh_common.security.authority import Authority
from virtmesh_common.security.roles import Role

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

STATUS = "/virtmesh.device.v1.DeviceService/GetStatus"
HALF_OPEN = int(os.environ.get("VIRTMESH_HALF_OPEN", "1500"))
"""Connections that say nothing; 10000 with patience and descriptors."""
OTHER_DESCRIPTORS = 512
"""What this process has beside them."""


def test_a_good_certificate_is_let_in(keyboard: Keyboard, people: People) -> None:
    """So what follows is refused for its fault, not for another one."""
    with keyboard.channel(people.bundles[Role.OBSERVER]) as channel:
        assert status_of(channel, STATUS) == ("OK", "")


@pytest.mark.parametrize(("age", "days"), [(3, 1), (-2, 4)], ids=["expired", "not yet valid"])
def test_dates_are_checked(keyboard: Keyboard, people: People, age: float, days: float) -> None:
    """A clock that is wrong by days keeps a client out; one of an hour does not (BACKDATED)."""
    with keyboard.channel(people.issue(Role.OWNER, "late", age=age, days=days)) as channel:
        assert status_of(channel, STATUS)[0] == "UNAVAILABLE"


def test_another_authority_is_no_authority(
    keyboard: Keyboard, people: People, tmp_path: Path
) -> None:
    """Although its certificates look the same."""
    with Authority.create(tmp_path / "other") as other:
        _, foreign = other.issue("owner", Role.OWNER)
    with channel_with(
        keyboard.address.certificates, foreign, people.authority.certificate
    ) as channel:
        assert status_of(channel, STATUS)[0] == "UNAVAILABLE"


def test_a_client_does_not_believe_another_authority(
    keyboard: Keyboard, people: People, tmp_path: Path
) -> None:
    """Who stands between can't pass itself off as the machine."""
    with Authority.create(tmp_path / "other") as other:
        address = keyboard.address.certificates
        with channel_with(address, people.bundles[Role.OWNER], other.certificate) as channel:
            assert status_of(channel, STATUS)[0] == "UNAVAILABLE"


def test_no_certificate_is_no_entry(keyboard: Keyboard, people: People) -> None:
    """A token does not help at this listener."""
    bearer = (("authorization", f"Bearer {people.token(Role.OWNER)}"),)
    with channel_with(keyboard.address.certificates, None, people.authority.certificate) as channel:
        assert status_of(channel, STATUS, bearer)[0] == "UNAVAILABLE"


@pytest.mark.parametrize("listener", ["certificates", "tokens"])
def test_plain_text_is_refused(keyboard: Keyboard, people: People, listener: str) -> None:
    """No downgrade: the connection ends, and nothing of the call is looked at."""
    bearer = (("authorization", f"Bearer {people.token(Role.OWNER)}"),)
    with grpc.insecure_channel(getattr(keyboard.address, listener)) as channel:
        assert status_of(channel, STATUS, bearer)[0] == "UNAVAILABLE"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_refused(keyboard: Keyboard) -> None:
    """1.2 is the oldest."""
    versions = {}
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.set_alpn_protocols(["h2"])
        context.minimum_version = context.maximum_version = version
        host, _, port = keyboard.address.tokens.rpartition(":")
        try:
            with (
                socket.create_connection((host, int(port)), timeout=20) as plain,
                context.wrap_socket(plain) as connection,
            ):
                versions[version] = connection.version()
        except (ssl.SSLError, ConnectionError):
            versions[version] = None

    assert list(versions.values()) == [None, None, "TLSv1.2"]


def test_half_open_connections_keep_nobody_out(keyboard: Keyboard, people: People) -> None:
    """Not who is connected, ever; not who comes, once the handshakes have had their time."""
    host, _, port = keyboard.address.certificates.rpartition(":")
    descriptors = Path(f"/proc/{keyboard.process.pid}/fd")
    with ExitStack() as undo:
        undo.enter_context(many_descriptors(HALF_OPEN + OTHER_DESCRIPTORS))
        bundle = people.bundles[Role.OBSERVER]
        before = undo.enter_context(keyboard.channel(bundle))
        assert status_of(before, STATUS)[0] == "OK"
        for _ in range(HALF_OPEN):
            stranger = undo.enter_context(socket.socket())
            stranger.setblocking(False)  # noqa: FBT003 - as socket has it
            with suppress(BlockingIOError):
                stranger.connect((host, int(port)))

        assert status_of(before, STATUS)[0] == "OK"
        assert len(list(descriptors.iterdir())) < DEFAULTS.connections + 200

        def is_let_in() -> bool:
            with keyboard.channel(bundle) as channel:
                return status_of(channel, STATUS)[0] == "OK"

        eventually(is_let_in)
        eventually(lambda: len(list(descriptors.iterdir())) < DEFAULTS.connections / 4)
    assert DEFAULTS.handshake_seconds < 10


def test_a_renewed_certificate_is_used_at_once(keyboard: Keyboard, people: People) -> None:
    """By the next connection, without a restart."""
    host, _, port = keyboard.address.tokens.rpartition(":")
    first = ssl.get_server_certificate((host, int(port)), timeout=20)
    Authority.ensure(people.folder, ["another.example"]).close()
    second = ssl.get_server_certificate((host, int(port)), timeout=20)

    assert first != second
    with keyboard.channel(people.bundles[Role.OBSERVER]) as channel:
        assert status_of(channel, STATUS)[0] == "OK"


def test_handshakes_that_fail_fill_no_log(keyboard: Keyboard, people: People) -> None:
    """Neither those of clients without a certificate, nor plain text: anybody can make millions."""
    host, _, port = keyboard.address.certificates.rpartition(":")
    context = ssl.create_default_context(cafile=str(people.folder / "ca.pem"))
    context.set_alpn_protocols(["h2"])
    for number in range(40):
        plain = socket.create_connection((host, int(port)), timeout=20)
        with plain, suppress(OSError):
            if number % 2:
                with context.wrap_socket(plain, server_hostname=host) as secure:
                    assert secure.recv(1) == b""
            else:
                plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
                while plain.recv(1 << 10):
                    pass
    with keyboard.channel(people.bundles[Role.OBSERVER]) as channel:
        assert status_of(channel, STATUS) == ("OK", "")
    assert "ssl_transport_security" not in keyboard.log.read_text(encoding="utf-8")
