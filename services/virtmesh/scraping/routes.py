"""What the HTTP server of metrics answers: /metrics, an index that points there, nothing else."""

from __future__ import annotations

from dataclasses import dataclass

METRICS, INDEX = "/metrics", "/"
METHODS = ("GET", "HEAD", "OPTIONS")
HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
INDEX_PAGE = (
    '<!doctype html><meta charset="utf-8"><title>virtmesh</title>'
    '<p>Metrics for Prometheus: <a href="/metrics">/metrics</a>\n'
)


@dataclass(frozen=True)
class Answer:
    """An answer of HTTP."""

    status: int
    content: bytes = b""
    content_type: str = TEXT
    allow: bool = False
    """Say which methods there are."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Its headers. The connection is closed behind each answer."""
        headers = [("Content-Length", str(len(self.content))), ("Connection", "close")]
        if self.content:
            headers.append(("Content-Type", self.content_type))
        if self.allow:
            headers.append(("Allow", ", ".join(METHODS)))
        return headers


def refusal(status: int, why: str) -> Answer:
    """Return an answer that says what is wrong."""
    return Answer(status, f"{why}\n".encode())


def route(method: str, target: str) -> Answer | None:
    """Return the answer to a request; None: the page of metrics."""
    path = target.partition("?")[0]
    if path not in {METRICS, INDEX}:
        return refusal(404, f"{METRICS} has the metrics")
    if method == "OPTIONS":
        return Answer(204, allow=True)
    if method not in METHODS:
        return Answer(405, f"{path} takes {', '.join(METHODS)}\n".encode(), allow=True)
    return Answer(200, INDEX_PAGE.encode(), HTML) if path == INDEX else None
