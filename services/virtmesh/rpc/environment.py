"""The environment of gRPC in our own processes. gRPC reads it at import, so import this first.

The event engine costs a fifth of every short call from grpcio 1.80 on. A user's process keeps its
own environment: there the event engine stays, which copies 15 % faster (tests/bench/disk_copy.py).

By itself, gRPC writes a line to standard error for each handshake that fails: strangers could fill
the disk with them.
"""

import os

import virtmesh.telemetry.lean_structlog  # noqa: F401 - before structlog is imported

os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client,-event_engine_listener")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
