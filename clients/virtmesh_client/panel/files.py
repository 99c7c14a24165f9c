"""The files of the page. They are read once, at the start: a request names one of them, no path."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
INDEX = "index.html"


@dataclass(frozen=True)
class File:
    """One file of the page."""

    content: bytes
    content_type: str
    tag: str
    """Its ETag: it is loaded again only when it has changed."""


def load_files() -> dict[str, File]:
    """Return the files by their paths below /static. Errors: OSError."""
    return dict(walk(resources.files("virtmesh_client.panel") / "static", ""))


def walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, File]]:
    """Load a folder."""
    for one in folder.iterdir():
        suffix = "." + one.name.rpartition(".")[2]
        if one.is_dir():
            yield from walk(one, f"{prefix}{one.name}/")
        elif suffix in TYPES:
            content = one.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            yield f"{prefix}{one.name}", File(content, TYPES[suffix], tag)


class Files:
    """Answers requests for files."""

    def __init__(self) -> None:
        self._files = load_files()

    async def page(self, request: web.Request) -> web.Response:
        """Answer with the page."""
        return self._answer(request, INDEX)

    async def file(self, request: web.Request) -> web.Response:
        """Answer with a file. Errors: HTTPNotFound."""
        return self._answer(request, request.match_info["path"])

    def _answer(self, request: web.Request, path: str) -> web.Response:
        found = self._files.get(path)
        if found is None:
            raise web.HTTPNotFound(text="the panel has no such file")
        headers = {"ETag": found.tag, "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == found.tag:
            return web.Response(status=304, headers=headers)
        return web.Response(
            body=found.content, content_type=found.content_type, charset="utf-8", headers=headers
        )
