"""Input devices: inject keys, text, pointer moves and touches; watch, record and replay events.

with virtmesh_client.connect() as machine, machine.input("keyboard") as keyboard:
    keyboard.type("Grüße", layout="de")
    keyboard.key("ctrl+alt+delete", wait="delivered")
"""

from virtmesh_client.input.device import Input
from virtmesh_client.input.files import load_recording, save_recording
from virtmesh_client.input.models import (
    Axis,
    Injected,
    InputInfo,
    InputStats,
    OutputPacket,
    Played,
    Received,
)
from virtmesh_client.input.recording import Recording
from virtmesh_client.input.watch import EventWatch, OutputWatch
from virtmesh_common.input.events import Event
from virtmesh_common.input.text.plan import TextOptions

__all__ = [
    "Axis",
    "Event",
    "EventWatch",
    "Injected",
    "Input",
    "InputInfo",
    "InputStats",
    "OutputPacket",
    "OutputWatch",
    "Played",
    "Received",
    "Recording",
    "TextOptions",
    "load_recording",
    "save_recording",
]
