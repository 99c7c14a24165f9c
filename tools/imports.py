"""Print which package imports which, and refuse circles and arrows that point upward.

Usage: python -m tools.imports [--modules] [--dot]

Every import statement counts: those inside functions and those for type checkers only as well.
Exit code 1 when there is a circle of packages, of rooms or of modules, or when a package imports
one that is not below it in LAYERS. `--modules` prints the graph of modules too, `--dot` writes the
graph of packages for Graphviz.

A folder inside a package is a room, with all that is in it; a module that lies beside folders is a
room of its own. The rooms of one folder must not import one another in a circle, at any depth. So
`uart/model.py` may use `uart/chip`, and `uart/chip` may use `uart/port.py`: the own modules of a
package may lie below its folders or above them. But if `uart/port.py` used any module of
`uart/chip`, that would be a circle. Each room of the client library is in LAYERS, as a package is.
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("common", "native/python", "services", "clients")
"""Folders that hold the packages of the distributions."""
GENERATED = "virtmesh_common.api"
"""Stubs: others import them, and what they import themselves is not of interest."""

LAYERS: tuple[tuple[str, ...], ...] = (
    ("virtmesh",),
    ("virtmesh_common",),
    ("virtmesh_native",),
    (
        "virtmesh_client.closable",
        "virtmesh_client.fork",
        "virtmesh_client.local",
        "virtmesh_client.security",
    ),
    ("virtmesh_client.patience",),
    (
        "virtmesh_client.atomic_file",
        "virtmesh_client.channel",
        "virtmesh_client.extras",
        "virtmesh_client.json_lines",
        "virtmesh_client.listening",
        "virtmesh_client.models",
        "virtmesh_client.powerloss",
        "virtmesh_client.sizes",
        "virtmesh_client.streams",
        "virtmesh_client.tail",
        "virtmesh_client.testing",
    ),
    (
        "virtmesh_client.address",
        "virtmesh_client.interface",
        "virtmesh_client.metrics_page",
        "virtmesh_client.register_table",
        "virtmesh_client.report",
    ),
    ("virtmesh_client.trace",),
    ("virtmesh_client.aio",),
    (
        "virtmesh_client.blk",
        "virtmesh_client.cpu",
        "virtmesh_client.fault",
        "virtmesh_client.guests",
        "virtmesh_client.input",
        "virtmesh_client.screen",
        "virtmesh_client.serial",
    ),
    ("virtmesh_client.machine",),
    ("virtmesh_client.async_machine",),
    ("virtmesh_client.scenario",),
    ("virtmesh_client.vnc",),
    ("virtmesh_client.library",),
    ("virtmesh_client",),
    ("virtmesh_client.guest",),
    ("virtmesh_client.top",),
    ("virtmesh_client.panel",),
    ("virtmesh_client.cli",),
    ("virtmesh_client.labgrid", "virtmesh_client.pytest_plugin"),
    ("virtmesh_client.__main__",),
    ("virtmesh.telemetry",),
    ("virtmesh.rpc", "virtmesh.dashboards", "virtmesh.sandbox"),
    ("virtmesh.report", "virtmesh.scraping"),
    ("virtmesh.mmio",),
    ("virtmesh.attach",),
    ("virtmesh.virtio",),
    ("virtmesh.vhost_user",),
    ("virtmesh.drivers",),
    ("virtmesh.kinds",),
    ("virtmesh.blk", "virtmesh.gpu", "virtmesh.input", "virtmesh.uart"),
    ("virtmesh.machine",),
    ("virtmesh.host", "virtmesh.kernel"),
    ("virtmesh.cpu",),
    ("virtmesh.testing",),
    ("virtmesh.local",),
)
"""Packages, lowest first. A package imports from layers below its own; the packages of one layer
do not import one another. `virtmesh` itself is the folder of its packages, and imports nothing;
`virtmesh_client` is the module of the names that scripts use."""
SPLIT = ("virtmesh", "virtmesh_client")
"""Folders whose rooms are packages of LAYERS."""
FORBIDDEN: Mapping[str, tuple[str, ...]] = {
    "virtmesh_client": ("virtmesh", "virtmesh_native"),
}
"""Distributions that a distribution must not need, although no layer forbids it."""
ONLY_FOR_CLIENTS = ("virtmesh.local", "virtmesh.testing")
"""What may import the client library, beside itself: no service needs it to run."""

Edge = tuple[str, str]


@dataclass(frozen=True)
class Graph:
    """The imports of the tree. An edge is (who imports, what is imported)."""

    modules: frozenset[str]
    edges: frozenset[Edge]

    @cached_property
    def packages(self) -> Mapping[Edge, int]:
        """Edges between packages, and how many imports of modules each one stands for."""
        pairs = ((package_of(source), package_of(target)) for source, target in self.edges)
        return Counter((source, target) for source, target in pairs if source != target)

    @cached_property
    def rooms(self) -> frozenset[Edge]:
        """Edges between the rooms of one folder."""
        return frozenset(rooms_of(source, target) for source, target in self.edges)


@dataclass
class Faults:
    """What is wrong with a graph."""

    module_circles: list[list[str]] = field(default_factory=list)
    package_circles: list[list[str]] = field(default_factory=list)
    room_circles: list[list[str]] = field(default_factory=list)
    """Circles of rooms that are not circles of modules as well."""
    upward: list[Edge] = field(default_factory=list)
    """Imports, by module, of a package that is not below the importer's."""
    unplaced: list[str] = field(default_factory=list)
    """Packages that are in no layer."""

    def __bool__(self) -> bool:
        found = (self.module_circles, self.package_circles, self.room_circles)
        return any(found) or bool(self.upward or self.unplaced)


def package_of(module: str) -> str:
    """Return the package of LAYERS that a module belongs to."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] in SPLIT else parts[0]


def rooms_of(source: str, target: str) -> Edge:
    """Return the rooms that two modules are in, in the innermost folder that holds both."""
    ours, theirs = source.split("."), target.split(".")
    depth = 0
    while depth < min(len(ours), len(theirs)) and ours[depth] == theirs[depth]:
        depth += 1
    return room_at(ours, depth), room_at(theirs, depth)


def room_at(parts: Sequence[str], depth: int) -> str:
    """Return the room of a module in the folder that so many names lead to."""
    return ".".join(parts[: depth + 1] if depth < len(parts) else [*parts, "__init__"])


def read_graph(root: Path = ROOT) -> Graph:
    """Read the imports of every module of the distributions."""
    files = {name: path for source in SOURCES for name, path in find_modules(root / source)}
    modules = frozenset(files)
    edges = {
        (name, target)
        for name, path in files.items()
        if not name.startswith(GENERATED)
        for target in imports_of(name, path, modules)
        if target != name
    }
    return Graph(modules, frozenset(edges))


def find_modules(folder: Path) -> Iterator[tuple[str, Path]]:
    """Return the modules of the packages in a folder, by name. Stubs stand for native modules."""
    for path in sorted([*folder.glob("virtmesh*/**/*.py"), *folder.glob("virtmesh*/**/*.pyi")]):
        if path.suffix == ".pyi" and path.with_suffix(".py").exists():
            continue
        parts = path.relative_to(folder).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports_of(name: str, path: Path, modules: frozenset[str]) -> Iterator[str]:
    """Return the modules of the tree that one module imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from nearest(alias.name, modules)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name if path.stem == "__init__" else name.rpartition(".")[0]
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                # `from a import b` means the module a.b where there is one, else a name in a.
                yield from nearest(f"{base}.{alias.name}", modules)


def nearest(name: str, modules: frozenset[str]) -> Iterator[str]:
    """Return the module of the tree that an imported name is, or is in."""
    while name:
        if name in modules:
            yield name
            return
        name = name.rpartition(".")[0]


def find_faults(graph: Graph) -> Faults:
    """Find circles, arrows that point upward, and packages without a layer."""
    level = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    present = {package_of(module) for module in graph.modules}
    of_modules, of_packages = circles(graph.edges), circles(graph.packages)
    return Faults(
        module_circles=of_modules,
        package_circles=of_packages,
        room_circles=[one for one in circles(graph.rooms) if one not in of_modules + of_packages],
        upward=sorted(edge for edge in graph.edges if points_upward(edge, level)),
        unplaced=sorted(present - set(level)),
    )


def points_upward(edge: Edge, level: Mapping[str, int]) -> bool:
    """Say whether an import breaks the order of LAYERS, or needs a distribution it must not."""
    source, target = map(package_of, edge)
    if source == target:
        return False
    ours, theirs = source.split(".")[0], target.split(".")[0]
    if theirs == "virtmesh_client" != ours:
        return source not in ONLY_FOR_CLIENTS
    if theirs in FORBIDDEN.get(ours, ()):
        return True
    return level.get(target, len(LAYERS)) >= level.get(source, -1)


def circles(edges: Iterable[Edge]) -> list[list[str]]:
    """Return the groups of nodes that reach one another (Tarjan 1972), each sorted."""
    targets: dict[str, list[str]] = defaultdict(list)
    for source, target in sorted(edges):
        targets[source].append(target)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in targets.get(node, ()):
            if target not in index:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            place = stack.index(node)
            group = stack[place:]
            del stack[place:]
            if len(group) > 1:
                found.append(sorted(group))

    for node in list(targets):
        if node not in index:
            visit(node)
    return sorted(found)


def show(graph: Graph, *, modules: bool) -> Iterator[str]:
    """Spell the graph: the layers, then who imports whom, with the number of imports."""
    yield "Layers, lowest first:"
    for number, layer in enumerate(LAYERS):
        yield f"  {number:2} {', '.join(layer)}"
    yield ""
    yield "Packages (modules that import one another, counted in pairs):"
    yield from _arrows({f"{source}": 0 for source, _ in graph.packages}, graph.packages)
    if modules:
        yield ""
        yield "Modules:"
        for source, target in sorted(graph.edges):
            yield f"  {source} -> {target}"


def _arrows(sources: Iterable[str], counts: Mapping[Edge, int]) -> Iterator[str]:
    """Spell each package's imports on one line."""
    for source in sorted(sources):
        targets = (f"{to} {count}" for (one, to), count in sorted(counts.items()) if one == source)
        yield f"  {source} -> {', '.join(targets)}"


def show_faults(faults: Faults) -> Iterator[str]:
    """Spell what is wrong, an edge or a circle a line."""
    for circle in faults.package_circles:
        yield f"circle of packages: {', '.join(circle)}"
    for circle in faults.room_circles:
        yield f"circle of rooms: {', '.join(circle)}"
    for circle in faults.module_circles:
        yield f"circle of modules: {', '.join(circle)}"
    for source, target in faults.upward:
        yield f"arrow that points upward: {source} -> {target}"
    for package in faults.unplaced:
        yield f"package without a layer: {package} (add it to LAYERS in tools/imports.py)"


def spell_dot(graph: Graph) -> Iterator[str]:
    """Spell the graph of packages for Graphviz, a rank for each layer."""
    yield "digraph imports {"
    yield "  rankdir=BT; node [shape=box, fontname=sans-serif];"
    for layer in LAYERS:
        names = " ".join(f'"{name}";' for name in layer)
        yield f"  {{ rank=same; {names} }}"
    for (source, target), count in sorted(graph.packages.items()):
        yield f'  "{source}" -> "{target}" [label={count}];'
    yield "}"


def main() -> int:
    """Print the graph; return 1 when it has faults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--modules", action="store_true", help="print the graph of modules too")
    parser.add_argument("--dot", action="store_true", help="write the graph for Graphviz")
    options = parser.parse_args()
    graph = read_graph()
    if options.dot:
        print("\n".join(spell_dot(graph)))
        return 0
    print("\n".join(show(graph, modules=options.modules)))
    faults = find_faults(graph)
    if faults:
        print("", *show_faults(faults), sep="\n")
    else:
        print("\nNo circle, and no arrow points upward.")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
