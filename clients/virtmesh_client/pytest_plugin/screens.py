"""What the screens of a machine show when a test has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.errors import VirtmeshError
from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from virtmesh_client.machine import Machine


def shoot(machine: Machine, gpus: Sequence[str]) -> Iterator[tuple[str, str, bytes]]:
    """Take a screenshot of each screen: a line about it, and a file with its name; maybe none."""
    away = {one.name: one.detail for one in machine.devices() if one.state == "waiting"}
    for gpu in gpus:
        if gpu in away:  # A test that has failed waits for nobody.
            yield f"{printable(gpu)}: can't be seen: {printable(away[gpu])}", "", b""
            continue
        try:
            for one in machine.screen(gpu).info():
                what = f"{printable(gpu)}, screen {one.number}"
                if one.picture is None:
                    yield f"{what}: shows nothing", "", b""
                    continue
                data = machine.screen(gpu).shot(one.number, cursor=True)
                name = f"{gpu}-screen{one.number}.png"
                yield f"{what}: {{}}x{{}} in {name}".format(*one.picture), name, data
        except VirtmeshError as error:
            yield f"{printable(gpu)}: can't be seen: {error}", "", b""
