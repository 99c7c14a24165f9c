"""Kernel modules: the modules that a module needs, in the order in which they must be loaded.

The dependencies are read from the modules themselves, since an unpacked package has no modules.dep:
that file is made when a package is installed.
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
"""The dependencies of a module, in its section .modinfo."""


class KernelModules:
    """The modules in a folder, by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = {
            _spell(match[1]): path
            for path in folder.rglob("*.ko*")
            if (match := MODULE_NAME.fullmatch(path.name))
        }

    def load_order(self, wanted: Iterable[str]) -> dict[str, bytes]:
        """Return modules and their dependencies by name, in load order.

        A wanted module without a file is assumed to be built into the kernel.
        Errors: GuestPartMissing if a dependency has no file.
        """
        found: dict[str, bytes] = {}
        for name in wanted:
            if _spell(name) in self._files:
                self._add(_spell(name), found, ())
        return found

    def _add(self, name: str, found: dict[str, bytes], needing: tuple[str, ...]) -> None:
        """Add a module after its dependencies. `needing` are the modules that depend on it."""
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
    """Return the kernel's name of a module: file names use "-" and "_" alike."""
    return name.replace("-", "_")
