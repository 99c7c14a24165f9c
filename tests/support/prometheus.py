"""Run a real Prometheus on this host, for tests and demonstrations. Needs the program `prometheus`.

    with running(targets, rules=[Path("rules/*.yml")]) as prometheus:
        prometheus.query("sum(up)")

Errors: PrometheusError if it does not start or refuses a request.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BINARY = "prometheus"
SCRAPE_S = 1
START_S = 30.0
REQUEST_S = 10.0


class PrometheusError(Exception):
    """Prometheus did not start, or refused a request."""


@dataclass(frozen=True)
class ScrapeJob:
    """A scrape job: its name, the HOST:PORT addresses, and labels for their series.

    With `bundle` it scrapes by TLS, with the file of `virtmesh certs issue`.
    """

    name: str
    targets: Sequence[str]
    labels: dict[str, str]
    honor_labels: bool = False
    bundle: Path | None = None

    @property
    def tls(self) -> dict[str, object]:
        """Its TLS, as deploy/prometheus/prometheus.yml has it."""
        if self.bundle is None:
            return {}
        files = dict.fromkeys(("ca_file", "cert_file", "key_file"), str(self.bundle))
        return {"scheme": "https", "tls_config": files | {"server_name": "localhost"}}


class Prometheus:
    """The HTTP API of one Prometheus."""

    def __init__(self, address: str) -> None:
        self._address = address

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of the response of /api/v1/PATH. Errors: PrometheusError."""
        query = urllib.parse.urlencode(parameters)
        url = f"http://{self._address}/api/v1/{path}?{query}"
        try:
            with urllib.request.urlopen(url, timeout=REQUEST_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")  # while it starts, this is plain text
            raise PrometheusError(f"{path}: {said}") from error
        except OSError as error:
            raise PrometheusError(f"{url}: {error}") from error

    def query(self, expression: str) -> list[float]:
        """Evaluate an expression now. Returns the values of its series. Errors: PrometheusError."""
        data = self.ask("query", query=expression)
        if data["resultType"] == "scalar":
            return [float(data["result"][1])]
        return [float(series["value"][1]) for series in data["result"]]


@contextlib.contextmanager
def running(jobs: Sequence[ScrapeJob], rules: Sequence[Path]) -> Iterator[Prometheus]:
    """Run Prometheus with its own folder, on a loopback port. Errors: PrometheusError."""
    with tempfile.TemporaryDirectory(prefix="prometheus-") as name:
        folder = Path(name)
        config = folder / "prometheus.json"  # JSON is YAML
        config.write_text(json.dumps(_config(jobs, rules)))
        address = _free_address()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    BINARY,
                    f"--config.file={config}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={address}",
                ],
                cwd=folder,
                stdout=log,
                stderr=log,
            )
        try:
            prometheus = Prometheus(address)
            _wait(process, prometheus, folder / "log")
            yield prometheus
        finally:
            process.terminate()
            process.wait()


def _config(jobs: Sequence[ScrapeJob], rules: Sequence[Path]) -> dict[str, Any]:
    """Return the configuration."""
    return {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
        "rule_files": [str(rule.absolute()) for rule in rules],
        "scrape_configs": [
            {
                "job_name": job.name,
                "honor_labels": job.honor_labels,
                **job.tls,
                "static_configs": [{"targets": list(job.targets), "labels": job.labels}],
            }
            for job in jobs
        ],
    }


def _free_address() -> str:
    """Return an unused loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _wait(process: subprocess.Popen[bytes], prometheus: Prometheus, log: Path) -> None:
    """Wait until Prometheus answers. Errors: PrometheusError."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            prometheus.query("vector(1)")
        except PrometheusError as error:
            if process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            lines = log.read_text(errors="replace").splitlines()[-5:]
            raise PrometheusError("Prometheus does not start: " + " ".join(lines)) from error
        return
