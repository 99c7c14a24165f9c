"""Find what a guest needs on this host: a kernel with its modules, and programs."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from virtmesh_common.errors import GuestPartMissing

UML_MODULES = Path("/usr/lib/uml/modules")
"""Folder of the modules of Debian's user-mode-linux."""
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Folders of system programs. The PATH of a user may lack the sbin folders."""


@dataclass(frozen=True)
class GuestKernel:
    """A kernel: its image, and the folder with its modules."""

    image: Path
    modules: Path


def find_program(name: str, package: str = "") -> Path:
    """Return the path of a program. Errors: GuestPartMissing, which names the Debian package."""
    found = shutil.which(name) or shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        hint = f"run apt-get install {package}" if package else "install it, or give its path"
        raise GuestPartMissing(f"the program {name!r} is not on this host: {hint}")
    return Path(found)


def cache_folder() -> Path:
    """Return the folder where this user may unpack a kernel package."""
    return platformdirs.user_cache_path("virtmesh", appauthor=False) / "guest"


def find_qemu_kernel(folder: Path | None) -> GuestKernel:
    """Return the newest kernel that has modules.

    It is searched in `folder`, where a Debian package was unpacked; without `folder`, in
    `cache_folder` and then among the installed packages. Errors: GuestPartMissing.
    """
    folders = [folder] if folder else [cache_folder(), Path("/")]
    for root in folders:
        kernels = [
            GuestKernel(image, modules)
            for image in sorted(root.glob("boot/vmlinuz-*"), key=_version, reverse=True)
            for modules in _module_folders(root, image.name.removeprefix("vmlinuz-"))
        ]
        if kernels:
            return kernels[0]
    searched = " and ".join(str(root) for root in folders)
    raise GuestPartMissing(
        f"there is no kernel with modules in {searched}: run apt-get install"
        " linux-image-cloud-amd64, or unpack that package with dpkg -x FILE"
        f" {cache_folder()} (docs/guests.md)"
    )


def find_uml_kernel() -> GuestKernel:
    """Return the user-mode Linux kernel. Errors: GuestPartMissing."""
    image = find_program("linux.uml", "user-mode-linux")
    folders = sorted(UML_MODULES.glob("*/kernel"), key=_version, reverse=True)
    if not folders:
        raise GuestPartMissing(
            f"there are no modules in {UML_MODULES}: run apt-get install user-mode-linux"
        )
    return GuestKernel(image, folders[0])


def _module_folders(root: Path, release: str) -> list[Path]:
    """Return the folders that exist of those where the modules of a kernel can be."""
    places = (root / base / "modules" / release / "kernel" for base in ("lib", "usr/lib"))
    return [place for place in places if place.is_dir()]


def _version(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that puts version 6.10 after 6.9."""
    return [(int(number or 0), text) for number, text in re.findall(r"(\d+)|(\D+)", str(path))]
