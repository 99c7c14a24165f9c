"""The health check of a container says whether its service serves, and if not, why."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from virtmesh.rpc import healthcheck

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def servicer() -> health.HealthServicer:
    """Make a health service to set."""
    return health.HealthServicer()


@pytest.fixture
def address(servicer: health.HealthServicer, tmp_path: Path) -> Iterator[str]:
    """Serve the health service at an address."""
    address = f"unix:{tmp_path}/service.sock"
    with futures.ThreadPoolExecutor(max_workers=1) as pool:
        server = grpc.server(pool)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        server.add_insecure_port(address)
        server.start()
        yield address
        server.stop(grace=None).wait()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line."""
    monkeypatch.setattr("sys.argv", ["healthcheck", *arguments])
    return healthcheck.main()


def test_serving_service_is_healthy(
    address: str, servicer: health.HealthServicer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that serves has no fault."""
    servicer.set("", SERVING)

    assert run(monkeypatch, address) == 0


def test_stopping_service_is_not_healthy(
    address: str,
    servicer: health.HealthServicer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A service that says it does not serve is named with what it says."""
    servicer.set("", NOT_SERVING)

    assert run(monkeypatch, address) == 1
    assert capsys.readouterr().err == f"{address}: NOT_SERVING\n"


def test_absent_service_is_not_healthy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody listens, the check says so in one line."""
    assert run(monkeypatch, f"unix:{tmp_path}/nobody.sock") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "UNAVAILABLE" in line


def test_silent_service_is_not_healthy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service that takes the connection and never answers costs the time given, no more."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = "127.0.0.1:{1}".format(*silent.getsockname())

        assert run(monkeypatch, "--timeout", "0.2", address) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert "DEADLINE_EXCEEDED" in line


def test_bad_address_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is none ends the check with the code of a usage error."""
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "nonsense")
