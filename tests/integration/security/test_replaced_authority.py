"""An authority that is replaced while it serves: what the old one issued counts no more."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from tests.integration.security.test_revoked_streams import WATCH, end_of, opened
from tests.support.secured import Keyboard, People, channel_with, status_of
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

STATUS = "/virtmesh.device.v1.DeviceService/GetStatus"
FILES = ("ca.pem", "server.key", "server.pem")


@pytest.fixture
def people() -> Iterator[People]:
    """Make an authority for one test: it is replaced."""
    with TemporaryDirectory(prefix="vm-") as folder:
        yield People(Path(folder))


@pytest.fixture
def others() -> Iterator[People]:
    """Make the authority that comes after it."""
    with TemporaryDirectory(prefix="vm-") as folder:
        yield People(Path(folder))


@pytest.fixture
def keyboard(people: People) -> Iterator[Keyboard]:
    """Start a keyboard of its own."""
    with Keyboard(people) as keyboard:
        yield keyboard


def replace(folder: Path, name: str, content: bytes) -> None:
    """Replace a file as a whole."""
    scratch = folder / f"{name}.new"
    scratch.touch(mode=0o600)
    scratch.write_bytes(content)
    scratch.rename(folder / name)


def test_connections_of_the_old_authority_lose_their_access(
    keyboard: Keyboard, people: People, others: People
) -> None:
    """Their next calls are refused, and their streams end; tokens and the new ones are let in."""
    bearer = (("authorization", f"Bearer {people.token(Role.OBSERVER)}"),)
    with keyboard.channel(people.bundles[Role.OWNER]) as channel, keyboard.tokens() as token:
        assert status_of(channel, STATUS)[0] == "OK"
        assert status_of(token, STATUS, bearer)[0] == "OK"
        stream = opened(channel, WATCH)
        for name in FILES:
            replace(people.folder, name, (others.folder / name).read_bytes())

        code, text = status_of(channel, STATUS)
        ended = end_of(stream)

        assert status_of(token, STATUS, bearer)[0] == "OK"
    with keyboard.channel(others.bundles[Role.OWNER]) as channel:
        assert status_of(channel, STATUS)[0] == "OK"
    assert (code, ended[0]) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    assert "of owner is of an authority that this machine has no more" in text
    assert ended[1] == text


def test_while_both_are_there_both_count(
    keyboard: Keyboard, people: People, others: People
) -> None:
    """So clients can be given new certificates one by one."""
    old, new = ((one.folder / "ca.pem").read_bytes() for one in (people, others))
    replace(people.folder, "ca.pem", old + new)
    bundle = others.bundles[Role.OWNER]
    with (
        keyboard.channel(people.bundles[Role.OWNER]) as before,
        channel_with(keyboard.address.certificates, bundle, old.decode()) as after,
    ):
        both = [status_of(one, STATUS)[0] for one in (before, after)]
        replace(people.folder, "ca.pem", new)
        only = [status_of(one, STATUS)[0] for one in (before, after)]

    assert both == ["OK", "OK"]
    assert only == ["UNAUTHENTICATED", "OK"]


def test_an_authority_that_can_not_be_read_lets_nobody_in(
    keyboard: Keyboard, people: People
) -> None:
    """Until it is mended."""
    content = (people.folder / "ca.pem").read_bytes()
    with keyboard.channel(people.bundles[Role.OWNER]) as channel:
        statuses = [status_of(channel, STATUS)[0]]
        for text in (b"-----BEGIN CERTIFICATE-----\n", content):
            replace(people.folder, "ca.pem", text)
            statuses.append(status_of(channel, STATUS)[0])

    assert statuses == ["OK", "UNAUTHENTICATED", "OK"]
