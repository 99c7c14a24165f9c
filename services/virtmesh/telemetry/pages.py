"""The pages of a metrics server: /metrics, an index that points there, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Environ = dict[str, Any]
    Respond = Callable[[str, list[tuple[str, str]]], Any]
    Application = Callable[[Environ, Respond], Iterable[bytes]]

METRICS, INDEX = "/metrics", "/"
ALLOWED = ("Allow", "GET, HEAD, OPTIONS")
HTML = ("Content-Type", "text/html; charset=utf-8")
TEXT = ("Content-Type", "text/plain; charset=utf-8")
INDEX_PAGE = (
    '<!doctype html><meta charset="utf-8"><title>virtmesh</title>'
    '<p>Metrics for Prometheus: <a href="/metrics">/metrics</a>\n'
)


def pages(metrics: Application) -> Application:
    """Return an application (PEP 3333) that has `metrics` at /metrics.

    HEAD is answered as GET, without the content (RFC 9110, 9.3.2).
    """

    def serve(environ: Environ, respond: Respond) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO") or INDEX, environ["REQUEST_METHOD"]
        if path not in {METRICS, INDEX}:
            return answer(respond, "404 Not Found", f"{METRICS} has the metrics\n", TEXT)
        if method == "OPTIONS":
            return answer(respond, "204 No Content", "", ALLOWED)
        if method not in {"GET", "HEAD"}:
            refusal = f"{path} takes GET, HEAD and OPTIONS\n"
            return answer(respond, "405 Method Not Allowed", refusal, TEXT, ALLOWED)
        if path == INDEX:
            content = answer(respond, "200 OK", INDEX_PAGE, HTML)
        else:
            content = with_length(metrics, environ, respond)
        return content if method == "GET" else []

    return serve


def answer(
    respond: Respond, status: str, content: str, *headers: tuple[str, str]
) -> Iterable[bytes]:
    """Answer with a text."""
    data = content.encode()
    respond(status, [*headers, ("Content-Length", str(len(data)))])
    return [data]


def with_length(metrics: Application, environ: Environ, respond: Respond) -> Iterable[bytes]:
    """Answer with the metrics, and say how long they are, for HEAD too."""
    begun: list[tuple[str, list[tuple[str, str]]]] = []
    content = b"".join(
        metrics(
            environ | {"REQUEST_METHOD": "GET"},
            lambda status, headers: begun.append((status, headers)),
        )
    )
    status, headers = begun[0]
    respond(status, [*headers, ("Content-Length", str(len(content)))])
    return [content]
