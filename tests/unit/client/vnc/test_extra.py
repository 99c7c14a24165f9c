"""VNC needs an extra of the client, and says so."""

from __future__ import annotations

import sys

import pytest

from virtmesh_common.errors import ExtraMissing


@pytest.mark.parametrize("library", ["cryptography", "numpy", "PIL"])
def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """The error says what to install."""
    ours = ("virtmesh_client.vnc", library)
    for name in [one for one in sys.modules if one.startswith(ours)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ExtraMissing, match=r"pip install 'virtmesh-client\[screen\]'") as missing:
        import virtmesh_client.vnc  # noqa: F401, PLC0415
    assert missing.value.metadata == {"extra": "screen"}
