"""The injectors of a batch: one for each device, over one connection, until the batch ends."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from virtmesh_client.cli.input.common import choose_among, input_devices

if TYPE_CHECKING:
    from virtmesh_client.cli.input.common import Fits, InjectOptions
    from virtmesh_client.input import Input, InputInfo
    from virtmesh_client.machine import Machine


class InjectorPool:
    """Injectors of one machine. Use it in a `with`: at its end the devices release their keys."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._open: dict[tuple[str, object, float | None], Input] = {}
        """By name of the device and by what differs from injector to injector."""
        self._infos: dict[str, InputInfo] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> bool | None:
        return self._stack.__exit__(*exc)  # type: ignore[arg-type]

    def get(self, how: InjectOptions, fits: Fits, usual: str) -> Input:
        """Return the injector of the device that is meant. Errors: those of `choose`."""
        name = how.device or choose_among(input_devices(self._machine), self._info, fits, usual)
        key = (name, how.overflow, how.timeout)
        if key not in self._open:
            self._open[key] = self._stack.enter_context(
                self._machine.input(name, overflow=how.overflow, timeout=how.timeout)
            )
        return self._open[key]

    def _info(self, name: str) -> InputInfo:
        """Return what a device has; a batch asks once."""
        if name not in self._infos:
            self._infos[name] = self._machine.input(name).info()
        return self._infos[name]
