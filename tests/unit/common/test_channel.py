"""Addresses are checked before gRPC sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtmesh_common.channel import check_address


@pytest.mark.parametrize(
    "address",
    [
        "localhost:50051",
        "127.0.0.1:0",
        "[::1]:50051",
        "[fe80::1%eth0]:1",
        "[::ffff:10.0.0.1]:1",
        "kernel.example:65535",
    ],
)
def test_tcp_address_passes_unchanged(address: str) -> None:
    """HOST:PORT is what gRPC takes."""
    assert check_address(address) == address


def test_unix_path_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative socket path counts from the current folder."""
    monkeypatch.chdir(tmp_path)

    assert check_address("unix:run/vda.sock") == f"unix:{tmp_path}/run/vda.sock"
    assert check_address("unix:///run/vda.sock") == "unix:/run/vda.sock"


@pytest.mark.parametrize(
    ("address", "mend"),
    [
        ("", "write unix:PATH or HOST:PORT"),
        ("localhost", "write unix:PATH or HOST:PORT"),
        ("localhost:70000", "write unix:PATH or HOST:PORT"),
        ("http://localhost:1", "write unix:PATH or HOST:PORT"),
        ("unix:", "write unix:PATH"),
        ("unix:/" + "x" * 120, "choose a shorter folder"),
    ],
)
def test_bad_address_names_the_mend(address: str, mend: str) -> None:
    """Anything else is refused with what to write instead."""
    with pytest.raises(ValueError, match=mend):
        check_address(address)


@pytest.mark.parametrize(
    "address",
    [f"vmt_{'a' * 12}_{'b' * 32}@host:50051", f"vmt_{'b' * 12}:50051", "user@host:1", "vmt_bbb"],
)
def test_a_secret_in_an_address_is_not_repeated(address: str) -> None:
    """Neither is it looked up: the resolver would send it to others."""
    with pytest.raises(ValueError, match="does not belong in an address") as caught:
        check_address(address)
    assert "bbb" not in str(caught.value)
    assert "user" not in str(caught.value)
