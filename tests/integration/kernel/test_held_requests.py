"""A disk that holds what its storage fails: who sees it, and how it goes on."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.integration.kernel.test_storage_errors import as_root, log_of, metric, mounted
from tests.support.cli import eventually
from virtmesh_common.blk.errors import BlockIOError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.cli import Cli

pytestmark = pytest.mark.processes

MIB = 1 << 20


class Caller:
    """Somebody whose call takes its time."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.error: Exception | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._call()
        except Exception as error:  # noqa: BLE001 - it is the test that looks at it
            self.error = error

    @property
    def is_waiting(self) -> bool:
        """Whether the call has not ended."""
        return self._thread.is_alive()

    def end(self) -> Exception | None:
        """Wait for the end; returns its error."""
        self._thread.join(30)
        assert not self.is_waiting
        return self.error


@as_root
def test_a_full_file_system_holds_a_write_until_there_is_room(cli: Cli) -> None:
    """The client sees no error, others go on, and everybody can see what is held."""
    with mounted(cli.folder / "small", "-t", "tmpfs", "-o", "size=1M", "tmpfs") as small:
        cli.up("--no-serial", "--disk", "small/disk.img,size=16M,on-error=stop")
        with virtmesh_client.connect(cli.state.address) as machine:
            disk = machine.disk("vda")
            data = os.urandom(2 * MIB)
            writer = Caller(lambda: disk.write(4 * MIB, data))
            eventually(lambda: disk.info().image.held_requests)

            assert disk.read(0, 512) == bytes(512)
            detail = next(one.detail for one in machine.devices())
            assert detail.startswith("holds OUT at sector ")
            assert detail.endswith("and tries it again: its storage answered ENOSPC")
            assert metric(cli, "virtmesh_blk_held_requests") >= 1
            assert metric(cli, "virtmesh_blk_longest_request_seconds") > 0
            shown = cli("blk", "info", "vda").stdout
            assert "on error" in shown
            assert "held requests" in shown
            eventually(lambda: "requests are held, and tried again" in log_of(cli))
            assert "request_held" in cli("trace", "-d", "vda", "--json").stdout
            assert writer.is_waiting

            os.system(f"mount -o remount,size=32M {small}")  # noqa: S605 - a path of the test
            assert disk.resume() >= 1

            assert writer.end() is None
            assert disk.read(4 * MIB, len(data)) == data
            assert disk.info().image.held_requests == 0
            eventually(lambda: "no request is held any more" in log_of(cli))
            cli("down")


def test_what_is_held_goes_on_by_itself_or_is_given_up(cli: Cli) -> None:
    """By an image that is cut off, and made whole again."""
    cli.up("--no-serial", "--disk", "disk.img,size=16M,on-error=stop")
    image = cli.folder / "disk.img"
    with virtmesh_client.connect(cli.state.address) as machine:
        disk = machine.disk("vda")
        os.truncate(image, MIB)
        reader = Caller(lambda: disk.read(8 * MIB, 4096))
        eventually(lambda: disk.info().image.held_requests)
        os.truncate(image, 16 * MIB)
        assert reader.end() is None

        os.truncate(image, MIB)
        reader = Caller(lambda: disk.read(8 * MIB, 4096))
        eventually(lambda: disk.info().image.held_requests)
        assert cli("blk", "resume", "vda", "--give-up").stdout == "vda: 1 request was held\n"
        eventually(lambda: cli("blk", "resume", "vda", "--give-up") and not reader.is_waiting)
        assert isinstance(reader.end(), BlockIOError)


def test_a_reset_drops_what_is_held(cli: Cli) -> None:
    """It is not waited for, and the disk is of use again."""
    cli.up("--no-serial", "--disk", "disk.img,size=16M,on-error=stop")
    with virtmesh_client.connect(cli.state.address) as machine:
        disk = machine.disk("vda")
        os.truncate(cli.folder / "disk.img", MIB)
        reader = Caller(lambda: disk.read(8 * MIB, 4096, retry_for=0))
        eventually(lambda: disk.info().image.held_requests)
        assert machine.reset("vda") == "ready"
        assert reader.end() is not None
        assert disk.info().image.held_requests == 0
        assert disk.read(0, 512) == bytes(512)
