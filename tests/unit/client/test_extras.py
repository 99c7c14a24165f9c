"""What needs an optional library says so, and how to get it."""

from __future__ import annotations

import re
import sys
import tomllib

import pytest

import virtmesh_client
from tests.support import ROOT
from virtmesh_client.extras import needing
from virtmesh_client.testing import FakeKernel
from virtmesh_common.errors import ExtraMissing

NEEDING = re.compile(r'needing\("(\w+)"')


def test_the_extras_that_are_named_are_there() -> None:
    """In the project file of the client."""
    project = tomllib.loads((ROOT / "clients" / "pyproject.toml").read_text())["project"]
    sources = (ROOT / "clients" / "virtmesh_client").rglob("*.py")
    named = {one for path in sources for one in NEEDING.findall(path.read_text())}
    assert {"video", "vision"} <= named <= set(project["optional-dependencies"])


@pytest.mark.parametrize(
    ("call", "library", "extra"),
    [
        ("expect", "cv2", "vision"),
        ("expect", "numpy", "vision"),
        ("record", "av", "video"),
        ("record", "numpy", "video"),
    ],
)
def test_a_library_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, call: str, library: str, extra: str
) -> None:
    """The error says what to install; screenshots go on without."""
    for name in [one for one in sys.modules if one.startswith("virtmesh_client.screen.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with FakeKernel() as kernel, virtmesh_client.connect(kernel.address) as machine:
        screen = machine.screen("gpu0")
        with pytest.raises(ExtraMissing) as missing:
            getattr(screen, call)("x.png")
        with pytest.raises(Exception, match=r".") as other:
            screen.shot()
    assert missing.value.message == (
        f"{call} needs {library}, which is not installed: pip install 'virtmesh-client[{extra}]'"
    )
    assert missing.value.metadata == {"extra": extra}
    assert not isinstance(other.value, ExtraMissing)


def test_a_module_of_our_own_is_no_extra() -> None:
    """That it is missing is a fault of ours, which must be seen."""
    with pytest.raises(ModuleNotFoundError, match="virtmesh_client"), needing("vision", "expect"):
        import virtmesh_client.nothing  # type: ignore[import-not-found]  # noqa: F401, PLC0415
