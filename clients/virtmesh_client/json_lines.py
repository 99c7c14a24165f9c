"""Files of JSON lines, as people may have edited them: hostile until parsed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_common.errors import VirtmeshError


def parse_object(line: int, text: str, bad: Callable[[int, str], VirtmeshError]) -> dict[str, Any]:
    """Read a line that is a JSON object. `bad` makes the error that is raised for another one."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise bad(line, f"not JSON: {error}") from None
    if not isinstance(content, dict):
        raise bad(line, "not a JSON object")
    return content
