"""What every service may read: its code, that of its libraries, and what these look up.

Code is read late as well: modules that are imported when they are first used, and the libraries of
the system that they load.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

SYSTEM = (
    # Libraries, and how they are found.
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    # Names of hosts, services and users.
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    # Time zones, languages, certificate authorities.
    "/etc/localtime",
    "/etc/timezone",
    "/usr/share/locale",
    "/usr/share/zoneinfo",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/usr/share/ca-certificates",
    # This process, and the sizes and limits of the host.
    "/proc/self",
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys",
    "/proc/version",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/sys/kernel/mm",
    # Devices without data.
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
)
"""Paths of the system; those that are missing are left out."""
WRITABLE = ("/dev/null",)
FOLDERS_OF_VARIABLES = ("LD_LIBRARY_PATH",)
FILES_OF_VARIABLES = ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "SSL_CERT_DIR", "SSL_CERT_FILE")


def readable_paths() -> tuple[Path, ...]:
    """Return what every service may read, with the modules that are loaded now."""
    return (*map(Path, SYSTEM), *sorted({*code_paths(), *_paths_of_variables()}))


def code_paths() -> Iterator[Path]:
    """Return the folders that Python imports from.

    Python's path may begin with any folder, such as the user's: it counts only when a module was
    loaded from it.
    """
    installed = (
        sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
    )
    yield from (Path(path) for path in installed if path)
    for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}:
        yield Path(prefix) / "lib"
        yield Path(prefix) / "pyvenv.cfg"
    loaded = _loaded.look()
    for entry in sys.path:
        path = Path(entry).absolute()
        if path in loaded and path != Path("/"):
            yield path


class _Loaded:
    """The folders that modules were loaded from.

    Each module is looked at once, since that writes to its memory: a template does it for what it
    has, and its forks for what they import themselves, such as the package of a device's kind.
    """

    def __init__(self) -> None:
        self._count = 0
        """Modules that were looked at: the first ones."""
        self._folders: set[Path] = set()

    def look(self) -> set[Path]:
        """Return the folders."""
        new = len(sys.modules) - self._count
        for name, module in tuple(islice(reversed(sys.modules.items()), max(new, 0))):
            self._folders.update(_folders_of(name, module))
        self._count = len(sys.modules)
        return self._folders


_loaded = _Loaded()


def _folders_of(name: str, module: ModuleType) -> Iterator[Path]:
    """Return the folder that a module was loaded from; a namespace package may have several."""
    file = getattr(module, "__file__", None)
    if file and "." not in name and name != "__main__":
        path = Path(file)
        yield (path.parent.parent if path.stem == "__init__" else path.parent).absolute()
    elif "." not in name:  # A namespace package has no file.
        yield from (Path(one).absolute().parent for one in getattr(module, "__path__", ()))


def _paths_of_variables() -> Iterator[Path]:
    for name in FOLDERS_OF_VARIABLES:
        yield from (
            Path(one) for one in os.environ.get(name, "").split(":") if one not in {"", "/"}
        )
    for name in FILES_OF_VARIABLES:
        if os.environ.get(name):
            yield Path(os.environ[name])
