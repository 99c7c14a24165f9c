"""The event loop of a target: one for all inputs, on which no exception goes unheard."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Loop:
    """Runs coroutines one after another. What a callback raises, `run` raises."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._raised: list[BaseException | str] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine. Errors: its own; AssertionError for one of a callback."""
        result = self._runner.run(work)
        if self._raised:
            raised, self._raised = self._raised, []
            cause = raised[0] if isinstance(raised[0], BaseException) else None
            raise AssertionError(f"a callback of the loop failed: {raised}") from cause
        return result

    def __enter__(self) -> Self:
        self._runner.get_loop().set_exception_handler(self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._runner.close()

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._raised.append(context.get("exception") or context["message"])
