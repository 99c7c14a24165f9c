"""Drivers for labgrid: keyboard, pointer and disk of a machine, beside labgrid's own serial driver.

    # env.yaml
    imports: [virtmesh_client.labgrid]
    targets:
      main:
        resources:
          VirtmeshMachine: {address: 'HOST:50051'}
        drivers:
          VirtmeshInputDriver: {device: keyboard}
          VirtmeshDiskDriver: {device: vda}

labgrid is no dependency of this distribution: only an environment that names this module loads it.
"""

from __future__ import annotations

from pathlib import Path

import attr
from labgrid.driver import Driver
from labgrid.factory import target_factory
from labgrid.resource import Resource
from labgrid.step import step

from virtmesh_client.machine import Machine, connect

CALL_SECONDS = 30.0
"""Limit of a call with a single response."""


@target_factory.reg_resource
@attr.s(eq=False)
class VirtmeshMachine(Resource):
    """A machine at `address`: unix:PATH or HOST:PORT."""

    address: str = attr.ib(validator=attr.validators.instance_of(str))


class VirtmeshDriver(Driver):
    """The connection of a driver, open while the driver is active."""

    _machine: Machine | None = None

    @property
    def machine(self) -> Machine:
        """The machine, for what the driver has no step for. Errors: RuntimeError when inactive."""
        if self._machine is None:
            raise RuntimeError(f"{self} is not active: call target.activate, or ask for it by name")
        return self._machine

    def on_activate(self) -> None:
        """Connect. Errors: ServiceUnavailable."""
        self._machine = connect(self.resource.address, timeout=CALL_SECONDS)
        try:
            self.machine.devices()
        except BaseException:
            self.on_deactivate()
            raise

    def on_deactivate(self) -> None:
        """Disconnect."""
        if self._machine is not None:
            self._machine.close()
            self._machine = None


@target_factory.reg_driver
@attr.s(eq=False)
class VirtmeshInputDriver(VirtmeshDriver):
    """Types, and presses keys and buttons. Each step waits until the guest's driver has the events.

    Errors of the steps: the classes of virtmesh_common.errors.
    """

    bindings = {"resource": VirtmeshMachine}  # noqa: RUF012 - labgrid's name and form
    device: str = attr.ib(default="keyboard", validator=attr.validators.instance_of(str))
    layout: str = attr.ib(default="us", validator=attr.validators.instance_of(str))

    @Driver.check_active
    @step(args=["text"])
    def type(self, text: str) -> None:
        """Type text by the keyboard layout of the environment, an xkb name such as "de"."""
        with self.machine.input(self.device) as desk:
            desk.type(text, layout=self.layout, wait="delivered")

    @Driver.check_active
    @step(args=["chord"])
    def key(self, chord: str) -> None:
        """Press and release keys, such as "ctrl+alt+delete"."""
        with self.machine.input(self.device) as desk:
            desk.key(chord, wait="delivered")

    @Driver.check_active
    @step(args=["button"])
    def click(self, button: str = "left") -> None:
        """Click a button of a mouse or a tablet."""
        with self.machine.input(self.device) as desk:
            desk.click(button, wait="delivered")


@target_factory.reg_driver
@attr.s(eq=False)
class VirtmeshDiskDriver(VirtmeshDriver):
    """Fills a disk, and reads it. Errors of the steps: the classes of virtmesh_common.errors."""

    bindings = {"resource": VirtmeshMachine}  # noqa: RUF012 - labgrid's name and form
    device: str = attr.ib(default="vda", validator=attr.validators.instance_of(str))
    image: str | None = attr.ib(
        default=None, validator=attr.validators.optional(attr.validators.instance_of(str))
    )

    @Driver.check_active
    @step(args=["filename"])
    def write_image(self, filename: str | None = None) -> None:
        """Write a file, or the image of the environment, to the disk; flush, and compare."""
        if filename is None:
            if self.image is None:
                raise ValueError("name a file, or an image in the environment")
            filename = self.target.env.config.get_image_path(self.image)
        self.machine.disk(self.device).import_from(Path(filename), verify=True)

    @Driver.check_active
    @step(args=["offset", "length"])
    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the disk."""
        return self.machine.disk(self.device).read(offset, length)
