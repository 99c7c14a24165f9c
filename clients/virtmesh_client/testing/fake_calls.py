"""Methods of a fake service, which raise errors of virtmesh as a real one does."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from virtmesh_common.errors import DETAILS_KEY, VirtmeshError, to_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc

Function = TypeVar("Function", bound="Callable[..., Any]")


def abort(context: grpc.ServicerContext, error: VirtmeshError) -> NoReturn:
    """End a call with an error, its details in the trailing metadata."""
    context.set_trailing_metadata(((DETAILS_KEY, to_status(error).SerializeToString()),))
    context.abort(error.code, error.message)
    raise AssertionError  # abort raises


def answers(method: Function) -> Function:
    """Let a method with a single response raise VirtmeshError."""

    @functools.wraps(method)
    def call(self: object, request: object, context: grpc.ServicerContext) -> object:
        try:
            return method(self, request, context)
        except VirtmeshError as error:
            abort(context, error)

    return call  # type: ignore[return-value]


def streams(method: Function) -> Function:
    """Let a method with a stream of responses raise VirtmeshError."""

    @functools.wraps(method)
    def call(self: object, request: object, context: grpc.ServicerContext) -> Iterator[object]:
        try:
            yield from method(self, request, context)
        except VirtmeshError as error:
            abort(context, error)

    return call  # type: ignore[return-value]
