"""Whether everything is installed that a machine needs."""

from __future__ import annotations

import importlib.util

HOST_MODULES = (
    "virtmesh_native",
    "grpc_health",
    "grpc_reflection",
    "prometheus_client",
    "setproctitle",
    "structlog",
    "uvloop",
)
"""What the distribution `virtmesh` brings, beside its own code."""


def check_host() -> None:
    """Refuse to start without what hosting needs. Errors: BadMachine, with the mend."""
    missing = [name for name in HOST_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        from virtmesh_common.errors import BadMachine  # noqa: PLC0415 - it imports gRPC

        raise BadMachine(
            f"this installation of virtmesh is incomplete: {', '.join(missing)} is missing: run"
            " pip install virtmesh"
        )
