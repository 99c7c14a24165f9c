"""Running many pieces of work, a bounded number of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import islice
from typing import TYPE_CHECKING, Any

from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Iterable

Piece = Callable[[], Coroutine[Any, Any, None]]
"""A piece of work that has not begun."""


async def bounded_gather(work: Iterable[Piece], limit: int) -> None:
    """Run all pieces, at most `limit` at once; the next begins when one is done.

    After an error no more begin; when those that run are through, the first error is raised.
    """
    pieces = iter(work)
    first = list(islice(pieces, limit))
    if len(first) == 1 < limit:
        await first[0]()
        return
    errors: list[VirtmeshError] = []

    async def worker(piece: Piece | None) -> None:
        while piece is not None and not errors:
            try:
                await piece()
            except VirtmeshError as error:
                errors.append(error)
            piece = next(pieces, None)

    await asyncio.gather(*map(worker, first))
    if errors:
        raise errors[0]
