"""Where the machine is: as told, from the environment, or the one that `virtmesh up` started."""

from __future__ import annotations

import os

from virtmesh_client.local import rundir
from virtmesh_common.channel import check_address
from virtmesh_common.errors import ServiceUnavailable

VARIABLE = "VIRTMESH_ADDRESS"


def find_address(address: str | None = None) -> str:
    """Return `address`, else $VIRTMESH_ADDRESS, else that of the only machine that runs here.

    Errors: ValueError for what is no address; ServiceUnavailable, with the mend, when there is no
    machine, or more than one.
    """
    told = address or os.environ.get(VARIABLE)
    if told:
        return check_address(told)
    states = rundir.running()
    if len(states) == 1:
        return check_address(states[0].address)
    if states:
        choices = ", ".join(f"{state.name} at {state.address}" for state in states)
        raise ServiceUnavailable(
            f"several machines run here ({choices}): choose one with --address or ${VARIABLE}"
        )
    raise ServiceUnavailable(
        "no machine runs here: start one with `virtmesh up`, or give the address of one with"
        f" --address or ${VARIABLE}"
    )
