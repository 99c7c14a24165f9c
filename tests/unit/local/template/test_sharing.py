"""What a fork only uses stays shared with its template."""

from __future__ import annotations

import subprocess
import sys
import weakref

import pytest
from virtmesh_native import make_immortal

HAS_IMMORTALS = sys.version_info >= (3, 12)
COUNTS = """
import gc, sys
from virtmesh.local.template import sharing

class File:
    def __del__(self):
        print("closed")

def function(value=("a", [1.5])):
    return value

held = [File()]
sharing.keep_shared()
(default,) = function.__defaults__
used = [function, function.__code__, File, default, default[1], sharing]
before = [sys.getrefcount(one) for one in used]
more = [used] * 10 + [list(used) for _ in range(10)]
print([sys.getrefcount(one) for one in used] == before)
print(gc.get_objects() == [] or gc.get_freeze_count() > 1000)
held.clear()
"""


def test_code_and_classes_are_counted_no_more_and_files_end_as_they_did() -> None:
    """Where Python has immortal objects; elsewhere they are counted, and all works as well."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", COUNTS], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(HAS_IMMORTALS), "True", "closed"]


@pytest.mark.skipif(not HAS_IMMORTALS, reason="Python has no immortal objects before 3.12")
def test_only_the_types_that_are_named() -> None:
    """An object of another type ends when nobody refers to it; a list is one of ours."""

    class Ends:
        """Ends with its last reference."""

    one, held = Ends(), [object()]
    end = weakref.ref(one)
    assert make_immortal([one, held], (list,)) > 0
    count = sys.getrefcount(held)
    again = [held] * 5
    assert sys.getrefcount(held) == count
    del one, again
    assert end() is None
