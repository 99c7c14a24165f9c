"""The environment of gRPC in our own processes. gRPC reads it at import, so import this first.

The event engine costs a fifth of every short call from grpcio 1.80 on. A user's process keeps its
own environment: there the event engine stays, which copies 15 % faster (tests/bench/disk_copy.py).
"""

import os

import virtmesh.telemetry.lean_structlog  # noqa: F401 - before structlog is imported

# gRPC has a line for each handshake that fails, without a limit: strangers would fill the log.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
