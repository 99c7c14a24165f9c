"""Received keys as text: `Decoder(layout)` reads events of `watch` as the driver's side would."""

from virtmesh_common.input.text.decode import Decoder

__all__ = ["Decoder"]
