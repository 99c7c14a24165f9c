"""Optional libraries of the client: extras of its distribution, which most scripts do without."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from virtmesh_common.errors import ExtraMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = "virtmesh"
"""How the names of our own packages begin."""


@contextlib.contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """Import modules that need an extra in the body. `what` is what needs it, for people.

    Errors: ExtraMissing, with the remedy, when a library is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith(OWN):
            raise
        raise ExtraMissing(
            f"{what} needs {error.name}, which is not installed: pip install"
            f" 'virtmesh-client[{extra}]'",
            extra=extra,
        ) from None
