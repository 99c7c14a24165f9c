"""What a guest needs of this host: a kernel with its modules, and programs; how to get them."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from virtmesh_common.errors import GuestPartMissing

UML_MODULES = Path("/usr/lib/uml/modules")
"""Where Debian's user-mode-linux has its modules."""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where the programs of the system are: a user's PATH may lack the sbin folders."""


@dataclass(frozen=True)
class Kernel:
    """A kernel: its image, and the folder that holds its modules."""

    image: Path
    modules: Path


def find_program(name: str, package: str = "") -> Path:
    """Return the path of a program. Errors: GuestPartMissing, with the package that has it."""
    found = shutil.which(name) or shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        mend = f"run apt-get install {package}" if package else "install it, or give its path"
        raise GuestPartMissing(f"there is no program {name!r} on this host: {mend}")
    return Path(found)


def cache_folder() -> Path:
    """Return the folder of this user where a kernel may be unpacked."""
    return platformdirs.user_cache_path("virtmesh", appauthor=False) / "guest"


def find_qemu_kernel(folder: Path | None) -> Kernel:
    """Return the newest Linux with modules: of `folder`, else unpacked by the user, else installed.

    A folder is what a Debian package unpacks to. Errors: GuestPartMissing.
    """
    folders = [folder] if folder else [cache_folder(), Path("/")]
    for root in folders:
        kernels = [
            Kernel(image, modules)
            for image in sorted(root.glob("boot/vmlinuz-*"), key=_version, reverse=True)
            for modules in _module_folders(root, image.name.removeprefix("vmlinuz-"))
        ]
        if kernels:
            return kernels[0]
    looked = " and ".join(str(root) for root in folders)
    raise GuestPartMissing(
        f"no kernel with its modules in {looked}: run apt-get install linux-image-cloud-amd64, or"
        f" unpack that package with dpkg -x FILE {cache_folder()} (docs/guests.md)"
    )


def find_uml_kernel() -> Kernel:
    """Return user-mode Linux. Errors: GuestPartMissing."""
    image = find_program("linux.uml", "user-mode-linux")
    folders = sorted(UML_MODULES.glob("*/kernel"), key=_version, reverse=True)
    if not folders:
        raise GuestPartMissing(f"no modules in {UML_MODULES}: run apt-get install user-mode-linux")
    return Kernel(image, folders[0])


def _module_folders(root: Path, release: str) -> list[Path]:
    """Return where the modules of a kernel are, if they are there."""
    places = (root / base / "modules" / release / "kernel" for base in ("lib", "usr/lib"))
    return [place for place in places if place.is_dir()]


def _version(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts 6.10 behind 6.9."""
    return [(int(number or 0), text) for number, text in re.findall(r"(\d+)|(\D+)", str(path))]
