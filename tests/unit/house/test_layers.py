"""The order of the packages: no circle of imports, and no arrow that points upward."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.imports import Graph, find_faults, read_graph, show_faults


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Read the imports of the tree."""
    return read_graph()


def test_the_tree_has_no_fault(graph: Graph) -> None:
    """Circles of modules and packages, arrows upward, packages without a layer."""
    assert list(show_faults(find_faults(graph))) == []


def test_the_graph_has_every_kind_of_import(tmp_path: Path) -> None:
    """Those inside functions, those for type checkers, relative ones, and those of names."""
    package = tmp_path / "services" / "virtmesh" / "one"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "names.py").write_text("NAME = 1\n")
    (package / "user.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from .names import NAME\n"
        "if TYPE_CHECKING:\n"
        "    from virtmesh.one import lazy\n"
    )
    (package / "lazy.py").write_text("def run():\n    import virtmesh.one.user\n")

    graph = read_graph(tmp_path)

    assert graph.edges == {
        ("virtmesh.one.user", "virtmesh.one.names"),
        ("virtmesh.one.user", "virtmesh.one.lazy"),
        ("virtmesh.one.lazy", "virtmesh.one.user"),
    }
    assert find_faults(graph).module_circles == [["virtmesh.one.lazy", "virtmesh.one.user"]]
    assert find_faults(graph).unplaced == ["virtmesh.one"]


@pytest.mark.parametrize(
    ("source", "target", "is_fault"),
    [
        ("virtmesh.attach.bus", "virtmesh.mmio.device", False),
        ("virtmesh.mmio.device", "virtmesh.attach.bus", True),
        ("virtmesh.blk.model", "virtmesh.input.model", True),
        ("virtmesh.blk.model", "virtmesh.blk.options", False),
        ("virtmesh_client.machine", "virtmesh_common.errors", False),
        ("virtmesh_client.machine", "virtmesh.machine.model", True),
        ("virtmesh_client.machine", "virtmesh_native", True),
        ("virtmesh.kernel.main", "virtmesh_client.machine", True),
        ("virtmesh.local.plan", "virtmesh_client.machine", False),
        ("virtmesh_common.errors", "virtmesh.rpc.server", True),
        ("virtmesh_client.serial.device", "virtmesh_client.streams", False),
        ("virtmesh_client.serial.device", "virtmesh_client.blk.disk", True),
        ("virtmesh_client.serial.aio", "virtmesh_client.aio.proxy", False),
        ("virtmesh_client.aio.proxy", "virtmesh_client.serial.device", True),
        ("virtmesh_client.trace.decode", "virtmesh_client", True),
        ("virtmesh_client.cli.run", "virtmesh.local.plan", True),
        ("virtmesh.local.plan", "virtmesh_client.cli.run", False),
        ("virtmesh.blk.model", "virtmesh_client.blk.disk", True),
    ],
)
def test_arrows_point_downward(source: str, target: str, is_fault: bool) -> None:  # noqa: FBT001
    """From a package to one below it, or within one package."""
    graph = Graph(frozenset({source, target}), frozenset({(source, target)}))

    assert bool(find_faults(graph).upward) is is_fault


@pytest.mark.parametrize(
    ("edges", "circle"),
    [
        pytest.param(
            ["model -> chip.chip", "chip.chip -> port"], [], id="own modules below and above"
        ),
        pytest.param(
            ["port -> chip.format", "chip.chip -> port"],
            ["chip", "port"],
            id="a folder and a module",
        ),
        pytest.param(
            ["chip.chip -> line.line", "line.messages -> chip.format"],
            ["chip", "line"],
            id="two folders",
        ),
        pytest.param(
            ["chip.a.one -> chip.b.two", "chip.b.three -> chip.a.four"],
            ["chip.a", "chip.b"],
            id="folders in a folder",
        ),
        pytest.param(
            ["chip.chip -> chip", "chip -> chip.format", "chip.format -> port"],
            [],
            id="names that a folder shows",
        ),
    ],
)
def test_rooms_form_no_circle(edges: list[str], circle: list[str]) -> None:
    """The modules and folders of one folder, at any depth, although no modules form one."""
    arrows = [one.split(" -> ") for one in edges]
    pairs = frozenset((f"virtmesh.uart.{one}", f"virtmesh.uart.{to}") for one, to in arrows)
    faults = find_faults(Graph(frozenset(name for pair in pairs for name in pair), pairs))

    assert faults.module_circles == faults.package_circles == []
    assert faults.room_circles == [[f"virtmesh.uart.{one}" for one in circle]] * bool(circle)
    assert bool(faults) is bool(circle)
    assert all(one.startswith("circle of rooms: ") for one in show_faults(faults))


def test_a_room_of_the_client_needs_a_layer() -> None:
    """One that is new is refused until it has its place."""
    graph = Graph(frozenset({"virtmesh_client.new.thing"}), frozenset())

    assert find_faults(graph).unplaced == ["virtmesh_client.new"]
