"""What a run ran on: machine, versions, commit, load."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.bench.suite.probe import ROOT


@dataclass(frozen=True)
class Host:
    """Facts that figures depend on."""

    processor: str
    processors: int
    kernel: str
    memory_gib: float
    python: str
    qsd: str
    commit: str
    """Its hash; with `+` where files differ from it."""
    file_system: str
    """Of the images: type and where it is mounted."""
    governor: str
    load_before: float
    """Processes that wanted to run in the minute before the run."""


def look(folder: Path) -> Host:
    """Look. Images lie in `folder`."""
    return Host(
        processor=_field(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        processors=os.cpu_count() or 1,
        kernel=platform.release(),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30), 1),
        python=platform.python_version(),
        qsd=_first_line(["qemu-storage-daemon", "--version"]),
        commit=_commit(),
        file_system=file_system(folder, Path("/proc/self/mounts").read_text()),
        governor=_governor(),
        load_before=os.getloadavg()[0],
    )


def file_system(folder: Path, mounts: str) -> str:
    """Return the type and the place of the mount that holds a folder, of /proc/self/mounts."""
    best = ("/", "unknown")
    path = folder.resolve()
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        if path.is_relative_to(place) and len(place) >= len(best[0]):
            best = (place, kind)
    return f"{best[1]} at {best[0]}"


def _field(path: Path, name: str) -> str:
    """Return the first field of that name."""
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _first_line(command: list[str]) -> str:
    """Return the first line that a program prints, or that there is none."""
    if shutil.which(command[0]) is None:
        return "none"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


def _commit() -> str:
    """Return the commit of the tree."""
    commit = _first_line(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"])
    changed = _first_line(["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"])
    return commit + ("+" if changed else "")


def _governor() -> str:
    """Return how clocks are governed, as far as the host says so."""
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return path.read_text().strip() if path.exists() else "not shown"
