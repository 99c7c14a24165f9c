"""What the calls of a client carry."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from virtmesh_client.channel import KernelChannel
from virtmesh_client.machine import Machine
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.request_id import REQUEST_ID_KEY

ADDRESS = "unix:/nobody/is/here.sock"


def test_the_calls_of_one_connection_have_one_identifier() -> None:
    """What a script does is found in the logs under one name, which no other connection has."""
    with KernelChannel(ADDRESS) as one, KernelChannel(ADDRESS) as other:
        first, second = (dict(one.metadata(device))[REQUEST_ID_KEY] for device in ("", "vda"))

        assert first == second
        assert first != dict(other.metadata())[REQUEST_ID_KEY]


@pytest.mark.parametrize("hostile", ["a b", "x" * 65, "name\n"])
def test_an_identifier_that_is_none_is_refused(hostile: str) -> None:
    """Services would ignore it, and nothing would be found in their logs."""
    with pytest.raises(ValueError, match="1 to 64 letters"):
        KernelChannel(ADDRESS, request_id=hostile)


def test_a_closed_connection_refuses_whatever_comes_then() -> None:
    """Another thread may be about to begin something: gRPC itself would end the process."""
    machine = Machine(ADDRESS)
    machine.close()

    for use in (machine.cpu, machine.devices, lambda: machine.disk("vda"), machine.serial):
        with pytest.raises(VirtmeshError, match=r"the connection to .* is closed: connect again"):
            use()


def test_what_was_made_before_the_end_is_refused_after_it() -> None:
    """With an error of ours, as any other loss."""
    machine = Machine(ADDRESS)
    disk = machine.disk("vda")
    machine.close()

    with pytest.raises(VirtmeshError, match="is closed"):
        disk.read(0, 512)


def test_connections_are_closed_under_threads_that_use_them() -> None:
    """No thread dies of it, and neither does the process."""

    def use(machine: Machine) -> str:
        while True:
            try:
                machine.cpu()
            except VirtmeshError as error:
                return error.message

    with ThreadPoolExecutor() as threads:
        for _ in range(50):
            machine = Machine(ADDRESS)
            answer = threads.submit(use, machine)
            machine.close()
            assert "is closed" in answer.result()
