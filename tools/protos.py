"""Generate the Python stubs in common/virtmesh_common/api from protos/, or check that they agree.

Usage: python tools/protos.py [--check]

protoc derives the import name of a stub from the path of its proto, which would be virtmesh.blk.v1;
the stubs live in virtmesh_common.api, so that the code's own packages keep their names. Imports are
therefore rewritten after generation.
"""

from __future__ import annotations

import argparse
import filecmp
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
API = ROOT / "common" / "virtmesh_common" / "api"
LOCK = ROOT / "requirements" / "protos.lock"
SCRIPTS = Path(sys.executable).parent
OWN_IMPORT = re.compile(r"^(from|import) virtmesh\.", re.MULTILINE)
PLUGINS = ("protoc-gen-mypy", "protoc-gen-mypy_grpc")


def get_generator() -> Path:
    """Return the folder of the locked generator, fetching it first if need be.

    Errors: CalledProcessError, when pip fails.
    """
    version = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    folder = ROOT / "build" / "protoc" / f"{sys.implementation.cache_tag}-{version}"
    if not folder.exists():
        fresh = folder.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes"]
        subprocess.run(
            [*install, "--no-deps", f"--target={fresh}", f"--requirement={LOCK}"], check=True
        )
        fresh.rename(folder)
    return folder


def generate(target: Path) -> None:
    """Write all stubs below target, which is emptied first. Errors: CalledProcessError."""
    generator = get_generator()
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        sources = sorted(str(path) for path in PROTOS.rglob("*.proto"))
        subprocess.run(
            [
                sys.executable,
                "-m",
                "grpc_tools.protoc",
                f"--proto_path={PROTOS}",
                f"--python_out={scratch}",
                f"--grpc_python_out={scratch}",
                *(f"--plugin={name}={SCRIPTS / name}" for name in PLUGINS),
                f"--mypy_out=quiet:{scratch}",
                f"--mypy_grpc_out=quiet:{scratch}",
                *sources,
            ],
            env={**os.environ, "PYTHONPATH": str(generator)},
            check=True,
        )
        shutil.copytree(Path(scratch) / "virtmesh", target)
    for stub in [*target.rglob("*.py"), *target.rglob("*.pyi")]:
        stub.write_text(rewrite(stub.read_text()))
    for folder in [target, *(path for path in target.rglob("*") if path.is_dir())]:
        init = folder / "__init__.py"
        init.write_text('"""Generated from protos/ by tools/protos.py; do not edit."""\n')


def rewrite(text: str) -> str:
    """Point the imports of one stub at virtmesh_common.api; descriptors keep their names."""
    return OWN_IMPORT.sub(r"\1 virtmesh_common.api.", text)


def same(left: Path, right: Path) -> bool:
    """Compare two folders by content, whole."""
    names = {path.relative_to(left) for path in left.rglob("*.py*") if path.suffix != ".pyc"}
    others = {path.relative_to(right) for path in right.rglob("*.py*") if path.suffix != ".pyc"}
    if names != others:
        return False
    return all(filecmp.cmp(left / name, right / name, shallow=False) for name in names)


def main() -> int:
    """Generate, or with --check compare and return 1 when the committed stubs are stale."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    if not parser.parse_args().check:
        generate(API)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "api"
        generate(fresh)
        if same(fresh, API):
            return 0
    print(
        "common/virtmesh_common/api is stale: run `make protos` and commit the result",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
