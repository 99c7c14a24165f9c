"""Kernel modules: which ones a module needs, in the order in which they are loaded.

Read from the modules themselves, so that an unpacked package will do: modules.dep is made when a
package is installed.
"""

from __future__ import annotations

import lzma
import re
from typing import TYPE_CHECKING

from virtmesh_common.errors import GuestPartMissing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MODULE_NAME = re.compile(r"(.+)\.ko(?:\.xz)?")
DEPENDS = re.compile(rb"\0depends=([\w,-]*)\0")
"""What the section .modinfo of a module says of others."""


class Modules:
    """The modules in a folder, by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = {
            _spell(match[1]): path
            for path in folder.rglob("*.ko*")
            if (match := MODULE_NAME.fullmatch(path.name))
        }

    def load_order(self, wanted: Iterable[str]) -> dict[str, bytes]:
        """Return modules and what they need, by name, first to be loaded first.

        A wanted one that is no file is taken to be built in. Errors: GuestPartMissing for one that
        another needs.
        """
        found: dict[str, bytes] = {}
        for name in wanted:
            if _spell(name) in self._files:
                self._add(_spell(name), found, ())
        return found

    def _add(self, name: str, found: dict[str, bytes], needing: tuple[str, ...]) -> None:
        """Add a module behind what it needs; `needing` is the way to it."""
        if name in found or name in needing:
            return
        path = self._files.get(name)
        if path is None:
            raise GuestPartMissing(
                f"{self._folder} has no module {name}, which {needing[-1]} needs"
            )
        content = path.read_bytes()
        if path.suffix == ".xz":
            content = lzma.decompress(content)
        depends = DEPENDS.search(content)
        for other in depends[1].decode().split(",") if depends else ():
            if other:
                self._add(_spell(other), found, (*needing, name))
        found[name] = content


def _spell(name: str) -> str:
    """Spell a module as the kernel does: in file names "-" and "_" are used alike."""
    return name.replace("-", "_")
