"""Tables of a TOML document, read with errors that say where they are and what to write instead."""

from __future__ import annotations

import re
from difflib import get_close_matches
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from virtmesh.machine.lines import find_line
from virtmesh_common.channel import check_address
from virtmesh_common.errors import BadMachine
from virtmesh_common.names import NAME_PATTERN
from virtmesh_common.sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_Choice = TypeVar("_Choice", bound=StrEnum)


class Table:
    """One TOML table. Errors of its methods: BadMachine."""

    def __init__(
        self,
        content: Mapping[str, Any],
        source: str,
        place: str,
        lines: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._content = content
        self._source = source
        self._place = place
        self._lines = lines

    @property
    def keys(self) -> list[str]:
        """The keys of the table."""
        return list(self._content)

    def bad(self, key: str, mend: str) -> BadMachine:
        """Make the error for a key."""
        line = find_line(self._lines, f"{self._place}{key}")
        where = self._source if line is None else f"{self._source}:{line}"
        return BadMachine(f"{where}: {self._place}{key} {mend}")

    def only(self, *known: str) -> None:
        """Refuse keys that are not known, naming the nearest that is."""
        for key in self._content:
            if key not in known:
                near = get_close_matches(key, known, n=1)
                mend = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                raise self.bad(key, f"is unknown: {mend}")

    def value(self, key: str, kinds: tuple[type, ...], default: Any) -> Any:
        """Return a value of one of the types, or the default when it is absent."""
        value = self._content.get(key, default)
        if value is default:
            return default
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            names = {
                str: "a string",
                int: "a number",
                bool: "true or false",
                list: "a list",
                dict: "a table",
            }
            raise self.bad(key, f"must be {' or '.join(names[kind] for kind in kinds)}")
        return value

    def name(self, key: str, default: str | None = None) -> str:
        """Return a name: a lower-case letter, then letters, digits and dashes, at most 31."""
        value = self.value(key, (str,), default)
        if value is None:
            raise self.bad(key, "is missing")
        if not re.fullmatch(NAME_PATTERN, value):
            raise self.bad(
                key,
                f"is {value!r}: write a lower-case letter, then at most 30 of a-z, 0-9 and -",
            )
        return str(value)

    def size(self, key: str, default: int) -> int:
        """Return a size in bytes."""
        try:
            return parse_size(self.value(key, (str, int), default))
        except ValueError as error:
            raise self.bad(key, f"is wrong: {error}") from error

    def choice(self, key: str, choices: type[_Choice], default: _Choice) -> _Choice:
        """Return one of an enumeration."""
        value = self.value(key, (str,), default.value)
        try:
            return choices(value)
        except ValueError:
            raise self.bad(
                key, f"is {value!r}: choose {' or '.join(one.value for one in choices)}"
            ) from None

    def address(self, key: str, default: str | None) -> str | None:
        """Return an address, or the default when it is absent."""
        value = self.value(key, (str,), default)
        return None if value is None else self.check_address(key, value)

    def check_address(self, key: str, value: str) -> str:
        """Refuse what is no address; unix paths are measured where they are placed."""
        if value.startswith("unix:") and value.removeprefix("unix:").strip("/"):
            return value
        try:
            check_address(value)
        except ValueError as error:
            raise self.bad(key, f"is wrong: {error}") from error
        return value

    def texts(self, key: str, default: list[str], example: str) -> list[str]:
        """Return a list of strings; one that stands alone is a list of one."""
        found = self.value(key, (str, list), default)
        found = [found] if isinstance(found, str) else found
        if not all(isinstance(one, str) for one in found):
            raise self.bad(key, f'must be one address or a list of them, such as ["{example}"]')
        return found

    def table(self, key: str) -> Table:
        """Return a table inside this one; an empty one when it is absent."""
        content = self.value(key, (dict,), {})
        return Table(content, self._source, f"{self._place}{key}.", self._lines)

    def tables(self, key: str, lines: Sequence[int] = ()) -> list[Table]:
        """Return a list of tables inside this one; `lines` are where they begin in the file."""
        found = self.value(key, (list,), [])
        if not all(isinstance(one, dict) for one in found):
            raise self.bad(key, "must be tables: write [[devices]]")
        known = len(lines) == len(found)
        return [
            Table(
                one, f"{self._source}:{lines[index]}" if known else self._source, f"{key}[{index}]."
            )
            for index, one in enumerate(found)
        ]
