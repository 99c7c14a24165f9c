"""Flattened device trees: blobs to trees of nodes and back (Devicetree Specification v0.4, 5).

https://www.devicetree.org/specifications/

A blob may come from anywhere (`dtc`, QEMU's `dumpdtb`, a stranger), so the reader trusts nothing:
every offset is checked, nesting and size are bounded, and all it raises is BadMachine.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from virtmesh_common.errors import BadMachine

FDT_MAGIC = 0xD00DFEED
"""magic (5.2)."""
FDT_VERSION = 17
"""version (5.2)."""
FDT_LAST_COMP_VERSION = 16
"""last_comp_version (5.2)."""
FDT_BEGIN_NODE = 1
"""Token (5.4.1)."""
FDT_END_NODE = 2
"""Token (5.4.1)."""
FDT_PROP = 3
"""Token (5.4.1)."""
FDT_NOP = 4
"""Token (5.4.1)."""
FDT_END = 9
"""Token (5.4.1)."""

HEADER = struct.Struct(">10I")
"""struct fdt_header (5.2)."""
SIZE_LIMIT = 2 << 20
"""Largest blob, in bytes: what Linux takes (MAX_FDT_SIZE)."""
DEPTH_LIMIT = 64
"""Deepest nesting of nodes: what libfdt takes (FDT_MAX_DEPTH)."""
NODES_LIMIT = 20_000
"""Most nodes. The largest trees of telephones have about 5,000."""
NAME_LIMIT = 255
"""Longest name of a node or property, in bytes. 31 are allowed before a unit address (2.2.1)."""


@dataclass
class Node:
    """One node: its name with unit address, its properties as bytes, its children in order."""

    name: str
    properties: dict[str, bytes] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    def cells(self, name: str) -> tuple[int, ...]:
        """Return a property as 32-bit cells; none when it is absent. Errors: BadMachine."""
        value = self.properties.get(name, b"")
        if len(value) % 4:
            raise BadMachine(f"device tree: {name} of {self.name or '/'} is not 32-bit cells")
        return struct.unpack(f">{len(value) // 4}I", value)

    def strings(self, name: str) -> tuple[str, ...]:
        """Return a property as a list of strings; none when it is absent. Errors: BadMachine."""
        value = self.properties.get(name, b"")
        if not value:
            return ()
        if not value.endswith(b"\0"):
            raise BadMachine(f"device tree: {name} of {self.name or '/'} is no string")
        try:
            return tuple(value[:-1].decode().split("\0"))
        except UnicodeDecodeError:
            raise BadMachine(f"device tree: {name} of {self.name or '/'} is no text") from None


def cells(*values: int) -> bytes:
    """Encode 32-bit cells."""
    return struct.pack(f">{len(values)}I", *values)


def cells64(*values: int) -> bytes:
    """Encode 64-bit numbers, two cells each."""
    return struct.pack(f">{len(values)}Q", *values)


def strings(*values: str) -> bytes:
    """Encode a list of strings."""
    return b"".join(value.encode() + b"\0" for value in values)


def encode(root: Node) -> bytes:
    """Make a version 17 blob of a tree."""
    names: dict[str, int] = {}
    table = bytearray()
    structure = bytearray()

    def emit(node: Node) -> None:
        structure.extend(cells(FDT_BEGIN_NODE) + _padded(node.name.encode() + b"\0"))
        for name, value in node.properties.items():
            if name not in names:
                names[name] = len(table)
                table.extend(name.encode() + b"\0")
            structure.extend(cells(FDT_PROP, len(value), names[name]) + _padded(value))
        for child in node.children:
            emit(child)
        structure.extend(cells(FDT_END_NODE))

    emit(root)
    structure.extend(cells(FDT_END))
    reservations = cells64(0, 0)  # 5.3: the list of reserved memory ends with a pair of zeroes
    structure_at = HEADER.size + len(reservations)
    strings_at = structure_at + len(structure)
    header = HEADER.pack(
        FDT_MAGIC,
        strings_at + len(table),
        structure_at,
        strings_at,
        HEADER.size,
        FDT_VERSION,
        FDT_LAST_COMP_VERSION,
        0,
        len(table),
        len(structure),
    )
    return header + reservations + structure + table


def decode(blob: bytes) -> Node:
    """Make the tree of a blob. Errors: BadMachine for anything that is not a whole, sane blob."""
    return _Reader(blob).tree()


class _Reader:
    """Reads the structure block of one blob, token by token."""

    def __init__(self, blob: bytes) -> None:
        if len(blob) > SIZE_LIMIT:
            raise BadMachine(f"device tree: larger than {SIZE_LIMIT >> 20} MiB")
        if len(blob) < HEADER.size:
            raise BadMachine("device tree: shorter than its header")
        (
            magic,
            total,
            structure_at,
            strings_at,
            _,
            version,
            compatible,
            _,
            strings_size,
            structure_size,
        ) = HEADER.unpack_from(blob)
        if magic != FDT_MAGIC:
            raise BadMachine(f"device tree: magic is {magic:#010x}, not {FDT_MAGIC:#010x}")
        if compatible > FDT_VERSION or version < FDT_VERSION:
            raise BadMachine(f"device tree: version {version} is not {FDT_VERSION}")
        if total > len(blob):
            raise BadMachine(f"device tree: cut off: {len(blob)} bytes of {total} are there")
        if structure_at % 4 or structure_at + structure_size > total:
            raise BadMachine("device tree: its structure block lies outside the blob")
        if strings_at + strings_size > total:
            raise BadMachine("device tree: its strings block lies outside the blob")
        self._structure = blob[structure_at : structure_at + structure_size]
        self._strings = blob[strings_at : strings_at + strings_size]
        self._position = 0

    def tree(self) -> Node:
        """Read the whole tree."""
        if self._token() != FDT_BEGIN_NODE:
            raise BadMachine("device tree: it does not begin with a node")
        root = Node(self._name())
        open_nodes = [root]
        count = 1
        while open_nodes:
            token = self._token()
            if token == FDT_BEGIN_NODE:
                if len(open_nodes) == DEPTH_LIMIT:
                    raise BadMachine(f"device tree: nested deeper than {DEPTH_LIMIT}")
                if count == NODES_LIMIT:
                    raise BadMachine(f"device tree: more than {NODES_LIMIT} nodes")
                count += 1
                child = Node(self._name())
                open_nodes[-1].children.append(child)
                open_nodes.append(child)
            elif token == FDT_END_NODE:
                open_nodes.pop()
            elif token == FDT_PROP:
                length, name_at = self._word(), self._word()
                open_nodes[-1].properties[self._string(name_at)] = self._bytes(length)
            else:
                raise BadMachine(f"device tree: token {token:#x} stands where none may")
        if self._token() != FDT_END:
            raise BadMachine("device tree: it goes on behind its root node")
        return root

    def _token(self) -> int:
        """Read the next token that means something."""
        while (token := self._word()) == FDT_NOP:
            pass
        return token

    def _word(self) -> int:
        """Read one cell."""
        return int.from_bytes(self._bytes(4), "big")

    def _bytes(self, length: int) -> bytes:
        """Read bytes, and step over the padding behind them."""
        taken = self._structure[self._position : self._position + length]
        if len(taken) < length:
            raise BadMachine("device tree: its structure block is cut off")
        self._position += length + -length % 4
        return taken

    def _name(self) -> str:
        """Read the name of a node."""
        end = self._structure.find(b"\0", self._position, self._position + NAME_LIMIT + 1)
        if end < 0:
            raise BadMachine(f"device tree: the name of a node has no end in {NAME_LIMIT} bytes")
        return _text(self._bytes(end + 1 - self._position)[:-1])

    def _string(self, offset: int) -> str:
        """Return the name of a property."""
        end = self._strings.find(b"\0", offset, offset + NAME_LIMIT + 1)
        if offset >= len(self._strings) or end < 0:
            raise BadMachine("device tree: the name of a property lies outside the strings block")
        return _text(self._strings[offset:end])


def _text(name: bytes) -> str:
    """Decode the name of a node or property."""
    try:
        return name.decode("ascii")
    except UnicodeDecodeError:
        raise BadMachine(f"device tree: {name!r} is no name") from None


def _padded(data: bytes) -> bytes:
    """Pad to whole cells."""
    return data + bytes(-len(data) % 4)
