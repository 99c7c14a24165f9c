"""The four wheels hold what each distribution promises."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.support.fresh_environment import read_metadata

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = {
    "virtmesh": "virtmesh",
    "virtmesh_client": "virtmesh_client",
    "virtmesh_common": "virtmesh_common",
    "virtmesh_native": "virtmesh_native",
}
"""The package in each wheel, by how the name of the file begins."""
LICENCES = {
    "virtmesh": " AND BSD-2-Clause",  # the font
    "virtmesh_client": " AND BSD-2-Clause AND MIT AND MPL-2.0",  # noVNC, xterm.js and uPlot
}
OURS = {"virtmesh", "virtmesh-client", "virtmesh-common", "virtmesh-native"}


def find_wheel(wheels: Path, name: str) -> Path:
    """Return the wheel of a distribution; there is one."""
    (wheel,) = wheels.glob(f"{name}-*.whl")
    return wheel


def test_there_are_four(wheels: Path) -> None:
    """And nothing else."""
    assert {one.name.split("-")[0] for one in wheels.iterdir()} == set(PACKAGES)


@pytest.mark.parametrize("name", PACKAGES)
def test_each_has_its_package_types_and_licence(wheels: Path, name: str) -> None:
    """And none has the package of another, or tests."""
    with zipfile.ZipFile(find_wheel(wheels, name)) as files:
        names = files.namelist()
    roots = {one.split("/")[0] for one in names if ".dist-info" not in one and ".libs" not in one}
    assert roots == {PACKAGES[name]}
    assert f"{PACKAGES[name]}/py.typed" in names
    assert any(one.endswith(".dist-info/licenses/LICENSE") for one in names)


def test_that_of_the_client_has_the_licences_of_the_panel(wheels: Path) -> None:
    """Everybody's whose code is in a bundle."""
    with zipfile.ZipFile(find_wheel(wheels, "virtmesh_client")) as files:
        (path,) = (
            one
            for one in files.namelist()
            if one.endswith("vendor/LICENSES.txt") and "/licenses/" in one
        )
        text = files.read(path).decode()
    for words in (
        "Mozilla Public License",
        "xterm.js authors",
        "Leon Sorokin",
        "Vitaly Puzrin",
        "Jef Poskanzer",
    ):
        assert words in text


@pytest.mark.parametrize("name", PACKAGES)
def test_each_says_what_it_is_and_needs(wheels: Path, name: str) -> None:
    """A description, a licence, Python 3.11; what it needs has a lowest version."""
    about = read_metadata(find_wheel(wheels, name))
    assert about["Summary"]
    assert about["License-Expression"] == f"Apache-2.0{LICENCES.get(name, '')}"
    assert about["Requires-Python"] == ">=3.11"
    assert str(about.get_payload()).startswith("# virtmesh")
    for needed in about.get_all("Requires-Dist", []):
        own = needed.split("=")[0].split(">")[0].strip() in OURS
        assert "==" in needed if own else ">=" in needed, needed


@pytest.mark.parametrize("name", ["virtmesh_client", "virtmesh_common"])
def test_those_of_the_client_are_for_any_system(wheels: Path, name: str) -> None:
    """Pure Python, and nothing of the services."""
    wheel = find_wheel(wheels, name)
    assert wheel.name.endswith("-py3-none-any.whl")
    needed = {one.split("=")[0] for one in read_metadata(wheel).get_all("Requires-Dist", [])}
    assert not needed & {"virtmesh", "virtmesh-native"}
