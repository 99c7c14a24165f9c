"""Richer client faces of kinds: what a client knows beyond what a device says about itself.

For any kind a client takes names, requests and figures from the device. A distribution that knows a
kind better, such as which bank of registers is in force, adds a `KindFace` by an entry point of the
group GROUP; the name of the entry point is that of the kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING

from virtmesh_common.errors import VirtmeshError
from virtmesh_common.interface import Interface

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from virtmesh_client.trace.events import Source
    from virtmesh_client.trace.register_names import RegisterNames

GROUP = "virtmesh_client.kinds"
"""The group of entry points."""


@dataclass(frozen=True)
class KindFace:
    """What a client knows of a kind."""

    interface: Callable[[Source], Interface] | None = None
    """Makes the interface of a device that does not describe itself, such as that of a trace which
    an earlier version has saved."""
    names: Callable[[Interface], RegisterNames] | None = None
    """Makes what names registers, where their names depend on what was written before."""
    may_differ: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Registers whose values depend on more than the accesses before, and why."""


NO_FACE = KindFace()


@cache
def find_kind_face(kind: str) -> KindFace:
    """Return the face of a kind; one that knows nothing where there is none.

    Errors: VirtmeshError for an entry point that is broken.
    """
    point = next(iter(entry_points(group=GROUP, name=kind)), None)
    if point is None:
        return NO_FACE
    try:
        face = point.load()
    except (ImportError, AttributeError) as error:
        raise VirtmeshError(
            f"the face of the kind {kind!r} can't be loaded from {point.value}: {error}; install"
            " its distribution again, or remove it"
        ) from error
    if not isinstance(face, KindFace):
        raise VirtmeshError(f"{point.value} is no KindFace, as the entry point of {kind!r} must be")
    return face


def interface_of(source: Source) -> Interface:
    """Return how a source describes itself, or what is known of its kind, or nothing."""
    if source.interface is not None:
        return source.interface
    face = find_kind_face(source.kind)
    return face.interface(source) if face.interface else Interface()
