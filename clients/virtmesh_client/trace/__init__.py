"""The dialogue of drivers and devices: read from flight recorders, merged, decoded, replayed."""

from virtmesh_client.trace.decode import Decoder
from virtmesh_client.trace.events import Event, Source
from virtmesh_client.trace.reader import follow_traces, read_traces

__all__ = ["Decoder", "Event", "Source", "follow_traces", "read_traces"]
