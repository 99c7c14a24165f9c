"""What a screen says of itself, judged by Debian's edid-decode."""

from __future__ import annotations

import re
import subprocess
from shutil import which

import pytest

from virtmesh.gpu.edid import make_edid
from virtmesh.gpu.settings import Mode
from virtmesh_common.gpu.errors import BadMode
from virtmesh_common.gpu.spec import MAX_SIDE, MIN_SIDE

MODES = [
    (MIN_SIDE, MIN_SIDE),
    (MIN_SIDE, MAX_SIDE),
    (MAX_SIDE, MIN_SIDE),
    (MAX_SIDE, MAX_SIDE),
    (320, 200),
    (640, 480),
    (800, 600),
    (1024, 768),
    (1280, 800),
    (1366, 768),
    (1920, 1080),
    (2560, 1600),
    (3840, 2160),
]

needs_edid_decode = pytest.mark.skipif(
    which("edid-decode") is None, reason="edid-decode is not installed"
)


def decode(edid: bytes) -> str:
    """Return what edid-decode says; it must find no fault."""
    done = subprocess.run(
        ["edid-decode", "--check"], input=edid, capture_output=True, check=False, timeout=60
    )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    return said


@needs_edid_decode
@pytest.mark.parametrize(("width", "height"), MODES)
def test_the_first_timing_is_the_mode(width: int, height: int) -> None:
    """Without a failure that edid-decode finds."""
    said = decode(make_edid(Mode(width, height), 3))
    (timing,) = re.findall(r"DTD 1: +(\d+)x(\d+) +([\d.]+) Hz", said)
    assert (int(timing[0]), int(timing[1])) == (width, height)
    assert "Serial Number: 'screen 3'" in said


@needs_edid_decode
@pytest.mark.parametrize(
    ("width", "height", "refresh"), [(1280, 800, 60), (3840, 2160, 60), (MAX_SIDE, MAX_SIDE, 37)]
)
def test_the_rate_is_60_hz_where_the_clock_allows(width: int, height: int, refresh: int) -> None:
    """The pixel clock of a timing has 16 bits."""
    said = decode(make_edid(Mode(width, height), 0))
    (found,) = re.findall(r"DTD 1: +\d+x\d+ +([\d.]+) Hz", said)
    assert round(float(found)) == refresh


@pytest.mark.parametrize(("width", "height"), [(0, 0), (15, 600), (800, 4096), (1 << 32, 16)])
def test_other_modes_are_refused(width: int, height: int) -> None:
    """A timing could not tell them."""
    with pytest.raises(BadMode, match="width and height are 16 to 4095"):
        Mode(width, height)
