"""Bundle what the panel takes from npm, or check that the bundles are as they were made.

Usage: python -m tools.panel_assets [--check]

The bundles are in the tree, as generated stubs are: who installs or reads the panel needs no Node.
`npm ci` fetches exactly what tools/panel/package-lock.json names. --check needs no network: the
file SHA256SUMS has the hashes of the bundles, and of what they were made from.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "tools" / "panel"
SOURCES = ("build.mjs", "package.json", "package-lock.json")
VENDOR = ROOT / "clients" / "virtmesh_client" / "panel" / "static" / "vendor"
SUMS = VENDOR / "SHA256SUMS"
SCRATCH = ROOT / "build" / "panel-assets"
BYTES_MAX = 700_000
"""Most bytes of all bundles together."""


def find_sums(recipe: Path, vendor: Path) -> str:
    """Return the content of SHA256SUMS for what is there now."""
    files = [recipe / name for name in SOURCES]
    files += sorted(one for one in vendor.iterdir() if one.name != SUMS.name)
    lines = [f"{hashlib.sha256(one.read_bytes()).hexdigest()}  {one.name}\n" for one in files]
    return "".join(lines)


def find_faults(recipe: Path = RECIPE, vendor: Path = VENDOR) -> list[str]:
    """Say what is not as it was made."""
    sums = vendor / SUMS.name
    before = sums.read_text(encoding="utf-8") if sums.exists() else ""
    now = find_sums(recipe, vendor)
    faults = [
        f"{line.split()[1]} is not what SHA256SUMS says: run `make panel-assets`"
        for line in sorted(set(now.splitlines()) ^ set(before.splitlines()))
    ]
    size = sum(one.stat().st_size for one in vendor.iterdir())
    if size > BYTES_MAX:
        faults.append(f"the bundles have {size} bytes, more than {BYTES_MAX}")
    return list(dict.fromkeys(faults))


def make_bundles() -> None:
    """Fetch and bundle. Errors: CalledProcessError; FileNotFoundError without npm."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    for name in SOURCES:
        shutil.copy(RECIPE / name, SCRATCH / name)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=SCRATCH, check=True)
    out = SCRATCH / "out"
    out.mkdir()
    subprocess.run(["node", "build.mjs", str(out)], cwd=SCRATCH, check=True)
    shutil.rmtree(VENDOR, ignore_errors=True)
    shutil.copytree(out, VENDOR)
    SUMS.write_text(find_sums(RECIPE, VENDOR), encoding="utf-8")


def main() -> int:
    """Make or check; returns the exit status."""
    parser = argparse.ArgumentParser(description="Bundle what the panel takes from npm.")
    parser.add_argument("--check", action="store_true", help="only check the bundles")
    if not parser.parse_args().check:
        make_bundles()
    faults = find_faults()
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
