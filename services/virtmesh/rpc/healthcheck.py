"""Ask a service for its health: what a container's HEALTHCHECK runs.

Usage: python -m virtmesh.rpc.healthcheck [--timeout SECONDS] ADDRESS

Exits 0 if the standard health service at ADDRESS (`unix:PATH` or `HOST:PORT`) answers SERVING; else
it prints in one line what it found and exits 1. It exits 2 for an invalid address.
"""

from __future__ import annotations

import argparse
from typing import cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from virtmesh_common.channel import open_sync_channel
from virtmesh_common.printable import say

TIMEOUT_SECONDS = 3.0


def find_fault(address: str, timeout: float = TIMEOUT_SECONDS) -> str:
    """Return what is wrong with the service at the address; empty if it is healthy.

    The service has `timeout` seconds to answer. Errors: ValueError for an invalid address.
    """
    with open_sync_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        try:
            answer = health.Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError as failure:
            call = cast("grpc.Call", failure)
            return f"{call.code().name}: {call.details()}"
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return ""
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def main() -> int:
    """Check the address on the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m virtmesh.rpc.healthcheck")
    parser.add_argument("address", metavar="ADDRESS", help="unix:PATH or HOST:PORT")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_SECONDS, metavar="SECONDS")
    arguments = parser.parse_args()
    try:
        fault = find_fault(arguments.address, arguments.timeout)
    except ValueError as error:
        parser.error(str(error))
    if fault:
        say(f"{arguments.address}: {fault}", err=True)  # Docker shows it.
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
