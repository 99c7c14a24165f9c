"""Files of input events: evemu's and our own."""

from __future__ import annotations

import io
from contextlib import suppress

from tests.fuzz.target import stateless
from tests.support import ROOT
from virtmesh_client.input.evemu import read_evemu, write_evemu
from virtmesh_client.input.recording import read_recording, write_recording
from virtmesh_common.input.errors import BadRecording, InputError

DATA = ROOT / "tests" / "data" / "recordings"


def run(data: bytes) -> None:
    """Read a file in both formats; what is read can be written, and read again the same."""
    lines = data.decode(errors="replace").splitlines(keepends=True)
    with suppress(BadRecording, InputError):
        recording = read_evemu(lines)
        write_evemu(recording, io.StringIO())
    with suppress(BadRecording, InputError):
        recording = read_recording(lines)
        written = io.StringIO()
        write_recording(recording, written)
        assert read_recording(written.getvalue().splitlines(keepends=True)) == recording


def seeds() -> list[bytes]:
    """Return the beginnings of recordings that the tests have."""
    return [path.read_bytes()[:3000] for path in sorted(DATA.rglob("*")) if path.is_file()][:12]


TARGET = stateless(run, seeds, longest=8192)
