"""What a command of the monitor has to work with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from virtmesh.kernel.kernel import Kernel
    from virtmesh.kernel.monitor.screen import Screen
    from virtmesh.kernel.monitor.typed import Typed
    from virtmesh.kernel.tty import Tty


@dataclass(frozen=True)
class Shell:
    """The kernel, and the console. Only a command that is `raw` reads `typed`."""

    kernel: Kernel
    tty: Tty
    typed: Typed
    screen: Screen

    async def write(self, text: str) -> None:
        """Write lines: whole ones, so that the boot log fits in between.

        Only newlines control the terminal: other control characters are shown as `?`.
        """
        lines = "\n".join(map(printable, text.removesuffix("\n").split("\n")))
        await self.screen.write(f"{lines}\n")
