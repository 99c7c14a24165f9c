"""`virtmesh registers`: what the bits of a device's register window mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from virtmesh_client.cli.settings import Settings, common, complete_device
from virtmesh_client.cli.show import show_facts, show_json, show_table
from virtmesh_client.register_table import spell_interface, window_of
from virtmesh_client.trace.decode import printable
from virtmesh_common.printable import say
from virtmesh_common.registers import Access

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from virtmesh_client.models import DeviceDescription
    from virtmesh_common.interface import Interface
    from virtmesh_common.registers import Field, Register

COLUMNS = ("OFFSET", "BITS", "ACCESS", "CLAUSE", "NAME", "MEANING")
VALUES_MAX = 16
"""Most values of a field that the table has; an object has them all."""


@click.command()
@click.option(
    "-d",
    "--device",
    "devices",
    multiple=True,
    shell_complete=complete_device,
    help="Only this device; may be repeated  [default: all]",
)
@common
@click.pass_obj
def registers(settings: Settings, devices: tuple[str, ...]) -> None:
    """Show the registers of devices, with their fields.

    They are shown as the devices describe them. With --json also the names of requests and
    features, the metrics, and the figures of `top`.
    """
    with settings.connect() as machine:
        names = list(dict.fromkeys(devices)) or [one.name for one in machine.devices()]
        found = [(machine.description(name), machine.interface(name)) for name in names]
    if settings.json:
        show_json([spell_interface(about, interface) for about, interface in found])
        return
    for number, (about, interface) in enumerate(found):
        if number:
            say()
        show_facts(spell_facts(about, interface))
        show_table(COLUMNS, spell_rows(window_of(interface)))


def spell_facts(about: DeviceDescription, interface: Interface) -> list[tuple[str, str]]:
    """Spell what a driver has to know beside the registers."""
    facts = [(about.name, interface.title or interface.kind or "says nothing")]
    facts += [("window", f"{about.mmio_size_bytes:#x} bytes"), ("compatible", about.compatible)]
    facts += [(name, str(value)) for name, value in sorted(about.properties.items())]
    if about.queue_size_max:
        facts.append(("queues", " ".join(map(str, about.queue_size_max))))
    if about.features:
        facts.append(("offers", " ".join(name for _, name in about.features)))
    return [(printable(name), printable(value)) for name, value in facts]


def spell_rows(table: Iterable[Register]) -> Iterator[tuple[str, ...]]:
    """Spell registers, each with its fields below it, and those with their values."""
    for one in table:
        access = "-" if one.access is Access.RESERVED else one.access.value
        name = f"{one.name} ({one.bank})" if one.bank else one.name
        yield (f"{one.offset:#05x}", str(8 * one.size), access, one.clause, name, one.doc)
        for field in one.fields:
            yield from spell_field(field)


def spell_field(field: Field) -> Iterator[tuple[str, ...]]:
    """Spell a field, and its values."""
    count = len(field.values)
    few = count <= VALUES_MAX
    meaning = field.doc if few else f"one of {count} values: --json has them"
    yield ("", spell_bits(field), "", "", f"  {field.name}", meaning)
    for value, name in field.values if few else ():
        yield ("", "", "", "", f"    {value:#x}", name)


def spell_bits(field: Field) -> str:
    """Spell which bits a field has: [7] or [31:8]."""
    last = field.low + field.width - 1
    return f"[{last}:{field.low}]" if field.width > 1 else f"[{last}]"
