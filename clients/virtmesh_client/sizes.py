"""Sizes for people. `virtmesh_common.sizes.parse_size` is the way back."""

from __future__ import annotations


def spell_size(size: float) -> str:
    """Spell bytes: 67108864 -> "64 MiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
