"""Valid-looking protobuf messages out of the bytes of an input."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tests.fuzz.draw import Draw

if TYPE_CHECKING:
    from google._upb._message import FieldDescriptor as UpbField

    Field: TypeAlias = FieldDescriptor | UpbField

M = TypeVar("M", bound=Message)
NAMES = ("vda", "keyboard", "serial", "screen", "", "nobody", "us", "ctrl+alt+delete", "hello\n")
"""Texts that mean something: devices, layouts, chords."""
FRACTIONS = (0.0, -1.0, 0.5, 1e9, float("inf"), float("nan"))
DEPTH_MAX = 4
REPEATED_MAX = 4
BITS = {
    FieldDescriptor.TYPE_INT32: 32,
    FieldDescriptor.TYPE_SINT32: 32,
    FieldDescriptor.TYPE_SFIXED32: 32,
    FieldDescriptor.TYPE_INT64: 64,
    FieldDescriptor.TYPE_SINT64: 64,
    FieldDescriptor.TYPE_SFIXED64: 64,
}
"""Signed numbers."""
UNSIGNED = {
    FieldDescriptor.TYPE_UINT32: 4,
    FieldDescriptor.TYPE_FIXED32: 4,
    FieldDescriptor.TYPE_UINT64: 8,
    FieldDescriptor.TYPE_FIXED64: 8,
}
"""Unsigned numbers, with their bytes."""


def fill(message: M, draw: Draw, depth: int = 0) -> M:
    """Set some fields of a message; return it."""
    for field in message.DESCRIPTOR.fields:
        if not draw.chance(2):
            continue
        if field.message_type is not None:
            if depth < DEPTH_MAX:
                fill_message(message, field, draw, depth)
        elif field.is_repeated:
            count = draw.byte() % (REPEATED_MAX + 1)
            getattr(message, field.name).extend(value_of(field, draw) for _ in range(count))
        else:
            setattr(message, field.name, value_of(field, draw))
    return message


def fill_message(message: Message, field: Field, draw: Draw, depth: int) -> None:
    """Set a field that is a message, or some, or a map."""
    content = getattr(message, field.name)
    assert field.message_type is not None
    if field.message_type.GetOptions().map_entry:
        return
    if field.is_repeated:
        for _ in range(draw.byte() % (REPEATED_MAX + 1)):
            fill(content.add(), draw, depth + 1)
    else:
        content.SetInParent()
        fill(content, draw, depth + 1)


def value_of(field: Field, draw: Draw) -> object:
    """Return a value of a field's type."""
    kind = field.type
    if kind in UNSIGNED:
        return draw.edge(UNSIGNED[kind])
    if kind in BITS:
        number = draw.edge(BITS[kind] // 8)
        return number - (1 << BITS[kind]) if number >> (BITS[kind] - 1) else number
    others: dict[int, Callable[[], object]] = {
        FieldDescriptor.TYPE_ENUM: lambda: draw.byte() % (enum_values(field) + 1),
        FieldDescriptor.TYPE_BOOL: lambda: draw.chance(2),
        FieldDescriptor.TYPE_STRING: lambda: draw.choose(NAMES) if draw.chance(2) else draw.text(),
        FieldDescriptor.TYPE_BYTES: lambda: draw.piece(64),
        FieldDescriptor.TYPE_FLOAT: lambda: draw.choose(FRACTIONS),
        FieldDescriptor.TYPE_DOUBLE: lambda: draw.choose(FRACTIONS),
    }
    return others[kind]()


def enum_values(field: Field) -> int:
    """Return how many values the enum of a field has."""
    return 0 if field.enum_type is None else len(field.enum_type.values)
