"""Find the address of the machine: as given, from the environment, or of a running machine."""

from __future__ import annotations

import os

from virtmesh_client.local import rundir
from virtmesh_common.channel import check_address
from virtmesh_common.errors import ServiceUnavailable

VARIABLE = "VIRTMESH_ADDRESS"


def find_address(address: str | None = None) -> str:
    """Return `address`, else $VIRTMESH_ADDRESS, else the address of the only local machine.

    Errors: ValueError for an invalid address; ServiceUnavailable if no machine, or more than one,
    runs on this host.
    """
    given = address or os.environ.get(VARIABLE)
    if given:
        return check_address(given)
    states = rundir.running()
    if len(states) == 1:
        return check_address(states[0].address)
    if states:
        choices = ", ".join(f"{state.name} at {state.address}" for state in states)
        raise ServiceUnavailable(
            f"several machines run on this host ({choices}): choose one with --address or"
            f" ${VARIABLE}"
        )
    raise ServiceUnavailable(
        "no machine runs on this host: start one with `virtmesh up`, or give the address of a"
        f" machine with --address or ${VARIABLE}"
    )
