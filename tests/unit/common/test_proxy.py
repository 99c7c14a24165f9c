"""Which hosts are local, and which proxy the environment names."""

from __future__ import annotations

import pytest

from virtmesh_common.channel import channel_options
from virtmesh_common.proxy import VARIABLES, find_proxy, is_local, is_loopback

PROXY = "http://proxy.example:3128"
LOCAL = [
    "unix:/run/kernel.sock",
    "localhost:1",
    "LOCALHOST.:1",
    "vm.localhost:1",
    "127.0.0.1:1",
    "127.9.9.9:1",
    "0.0.0.0:1",
    "[::1]:1",
    "[::]:1",
    "[::ffff:127.0.0.1]:1",
]
REMOTE = ["192.0.2.1:1", "localhost.example:1", "[2001:db8::1]:1", "128.0.0.1:1", "example.org:1"]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take all proxies out of the environment."""
    for name in (*VARIABLES, "no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("address", LOCAL)
def test_local_addresses_have_no_proxy(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says, and whatever the caller allows."""
    monkeypatch.setenv("http_proxy", PROXY)

    assert is_local(address)
    assert not find_proxy(address)
    assert dict(channel_options(address, proxy=True))["grpc.enable_http_proxy"] == 0


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("localhost:1", True),
        ("LocalHost.:1", True),
        ("[::1]:1", True),
        ("[::ffff:127.0.0.1]:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("localhost.example:1", False),
        ("127.0.0.1.example:1", False),
    ],
)
def test_only_this_host_reaches_loopback(address: str, expected: bool) -> None:  # noqa: FBT001
    """What is not surely loopback is not."""
    assert is_loopback(address) is expected


@pytest.mark.parametrize("address", REMOTE)
def test_other_addresses_have_the_proxy_that_is_allowed(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GRPC decides, unless the caller wants none."""
    monkeypatch.setenv("http_proxy", PROXY)

    assert not is_local(address)
    assert find_proxy(address) == f"http_proxy={PROXY}"
    assert "grpc.enable_http_proxy" not in dict(channel_options(address, proxy=True))
    assert dict(channel_options(address))["grpc.enable_http_proxy"] == 0


@pytest.mark.parametrize(
    ("address", "listed", "excepted"),
    [
        ("kernel.example.org:1", "example.org", True),
        ("kernel.example.org:1", ".example.org, other", True),
        ("kernel.example.org:1", "example.com,", False),
        ("192.0.2.7:1", "192.0.2.0/24", True),
        ("192.0.2.7:1", "192.0.3.0/24", False),
        ("[2001:db8::1]:1", "2001:db8::/32", True),
        ("192.0.2.7:1", "", False),
    ],
)
def test_no_proxy_lists_names_and_networks(
    address: str, listed: str, monkeypatch: pytest.MonkeyPatch, *, excepted: bool
) -> None:
    """As gRPC reads it."""
    monkeypatch.setenv("https_proxy", PROXY)
    monkeypatch.setenv("no_proxy", listed)

    assert (not find_proxy(address)) == excepted


def test_a_password_of_a_proxy_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in the variable, and would stand in the error."""
    monkeypatch.setenv("grpc_proxy", "http://me:secret@proxy.example:3128")

    assert find_proxy("192.0.2.1:1") == f"grpc_proxy={PROXY}"
