"""Which listeners there are, and what protects each."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtmesh.rpc.locks import Entrance, Listener, Locks, parse_role_socket
from virtmesh_common.security.errors import Unprotected
from virtmesh_common.security.roles import Role


@pytest.mark.parametrize(
    ("locks", "address", "entrance"),
    [
        (Locks(), "unix:/x", Entrance.SOCKET),
        (Locks(), "127.0.0.1:1", Entrance.PLAIN),
        (Locks(security=Path("s")), "127.0.0.1:1", Entrance.CERTIFICATES),
        (Locks(security=Path("s")), "unix:/x", Entrance.SOCKET),
        (Locks(insecure=True), "0.0.0.0:1", Entrance.PLAIN),
        (Locks(security=Path("s"), insecure=True), "0.0.0.0:1", Entrance.CERTIFICATES),
    ],
)
def test_an_address_says_how_callers_are_known(
    locks: Locks, address: str, entrance: Entrance
) -> None:
    """With a security folder TCP has TLS, whatever else is said."""
    (listener,) = locks.listeners([address])

    assert listener == Listener(address, entrance)


@pytest.mark.parametrize(
    ("locks", "address"),
    [
        (Locks(), "0.0.0.0:1"),
        (Locks(), "[::]:1"),
        (Locks(), "host.example:1"),
        (Locks(tokens=["127.0.0.1:1"]), "unix:/x"),
        (Locks(tokens=["127.0.0.1:1"], insecure=True), "unix:/x"),
    ],
)
def test_what_nothing_protects_is_refused(locks: Locks, address: str) -> None:
    """A token without TLS is one for everybody."""
    with pytest.raises(Unprotected, match="--security DIR"):
        list(locks.listeners([address]))


@pytest.mark.parametrize("locks", [Locks(of_file=True), Locks(tokens=["0.0.0.0:1"], of_file=True)])
def test_what_a_machine_file_lacks_is_named_by_its_keys(locks: Locks) -> None:
    """`virtmesh up` has no such options."""
    with pytest.raises(Unprotected, match=r'write folder = "DIR" in \[security\]') as caught:
        list(locks.listeners(["unix:/x" if locks.tokens else "0.0.0.0:1"]))
    assert "--" not in str(caught.value)


def test_a_socket_of_a_role() -> None:
    """With a mode and a group, or without."""
    assert parse_role_socket("observer=unix:a.sock,mode=0666,group=0") == Listener(
        "unix:a.sock", Entrance.SOCKET, Role.OBSERVER, 0o666, 0
    )
    assert parse_role_socket("owner=unix:/a") == Listener("unix:/a", Entrance.SOCKET)


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("unix:a.sock", "begins with no role"),
        ("boss=unix:a.sock", "begins with no role"),
        ("observer=127.0.0.1:1", "names no unix socket"),
        ("observer=unix:", "names no unix socket"),
        ("observer=unix:a,mode=777", "is no mode of a socket"),
        ("observer=unix:a,mode=4660", "is no mode of a socket"),
        ("observer=unix:a,mode=-1", "is no mode of a socket"),
        ("observer=unix:a,group=no-such-group-here", "no such group"),
        ("observer=unix:a,user=me", "is unknown"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, mend: str) -> None:
    """The message says what to write."""
    with pytest.raises(ValueError, match=mend):
        parse_role_socket(text)
