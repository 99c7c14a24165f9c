"""Where logins are stored: closed to others, replaced whole, and checked when they are read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from virtmesh_client import Credentials
from virtmesh_client.security import logins
from virtmesh_common.security.errors import BadLogin

ADDRESS = "machine.example:50051"
CREDENTIALS = Credentials("authority", "certificate", "key", server_name="machine")


def test_a_login_is_stored_for_this_user_only(tmp_path: Path) -> None:
    """Whatever the umask, in the folder that XDG names."""
    mask = os.umask(0)
    try:
        file = logins.store(ADDRESS, CREDENTIALS)
    finally:
        os.umask(mask)

    assert file.is_relative_to(tmp_path / "config" / "virtmesh")
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [one.name for one in file.parent.iterdir()] == [file.name]
    assert logins.find(ADDRESS) == CREDENTIALS


def test_logins_are_listed_and_forgotten() -> None:
    """Each by its address."""
    for address in (ADDRESS, "[2001:db8::1]:1", "192.0.2.1:50051"):
        logins.store(address, CREDENTIALS)

    assert [one.address for one in logins.every()] == [
        "192.0.2.1:50051", "[2001:db8::1]:1", ADDRESS,
    ]  # fmt: skip
    assert logins.remove(ADDRESS)
    assert not logins.remove(ADDRESS)
    assert logins.find(ADDRESS) is None


@pytest.mark.parametrize("fault", ["mode", "folder mode", "link", "owner"])
def test_what_others_could_have_read_or_written_is_refused(fault: str, tmp_path: Path) -> None:
    """With what to do about it."""
    file = logins.store(ADDRESS, CREDENTIALS)
    if fault == "mode":
        file.chmod(0o640)
    elif fault == "folder mode":
        file.parent.chmod(0o755)
        with pytest.raises(BadLogin, match="chmod"):
            logins.store(ADDRESS, CREDENTIALS)
        return
    elif fault == "link":
        file.rename(tmp_path / "away")
        file.symlink_to(tmp_path / "away")
    elif os.geteuid() == 0:
        os.chown(file, 65534, 65534)
    else:
        pytest.skip("only root gives files away")

    with pytest.raises(BadLogin, match=r"chmod|log in again"):
        logins.find(ADDRESS)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "[" * 9999, '{"address": 1}', '"x"', "x" * 99999],
)
def test_what_does_not_parse_is_refused(content: str) -> None:
    """Whoever wrote it."""
    logins.store(ADDRESS, CREDENTIALS).write_text(content)

    with pytest.raises(BadLogin, match="log in again"):
        logins.find(ADDRESS)


@pytest.mark.parametrize("change", [{"version": 2}, {"key": 7}, {"extra": ""}, {"address": None}])
def test_strange_values_are_refused(change: dict[str, object]) -> None:
    """Each is checked."""
    file = logins.store(ADDRESS, CREDENTIALS)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))

    with pytest.raises(BadLogin, match="log in again"):
        logins.find(ADDRESS)
