"""Why the connection of a viewer ends."""

from __future__ import annotations


class ViewerError(Exception):
    """The viewer broke the protocol, was too slow, or has no right to be here."""


class ViewerLeft(Exception):
    """The viewer closed its connection between two messages."""
