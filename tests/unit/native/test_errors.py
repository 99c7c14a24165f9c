"""virtmesh_native.errors: the classes that the native code raises are those that services catch."""

from __future__ import annotations

import subprocess
import sys

from virtmesh_native import errors

from virtmesh_common.errors import VirtmeshError

HOLE = """
import sys, types
from virtmesh_common import errors as common
from virtmesh_common.blk import errors as disk
names = {names!r}
fake = types.ModuleType("virtmesh_native.errors")
for name in names:
    setattr(fake, name, getattr(common, name, None) or getattr(disk, name))
fake.__all__ = names
sys.modules["virtmesh_native.errors"] = fake
import virtmesh_native
"""


def test_every_class_travels_over_grpc() -> None:
    """Each has a code and a reason."""
    assert errors.__all__
    assert all(issubclass(getattr(errors, name), VirtmeshError) for name in errors.__all__)


def test_a_missing_class_fails_the_import() -> None:
    """Not the first error of that class, a week later."""
    names = [name for name in errors.__all__ if name != "RingCorrupt"]
    done = subprocess.run(
        [sys.executable, "-c", HOLE.format(names=names)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "RingCorrupt" in done.stderr.splitlines()[-1]
