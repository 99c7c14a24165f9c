"""Read files of JSON lines. People may have edited them, so every line is checked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_common.errors import VirtmeshError


def parse_object(
    line: int, text: str, make_error: Callable[[int, str], VirtmeshError]
) -> dict[str, Any]:
    """Parse one line as a JSON object.

    Errors: what `make_error(line, message)` returns, for anything but a JSON object.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise make_error(line, f"the line is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise make_error(line, "the line is not a JSON object")
    return content
