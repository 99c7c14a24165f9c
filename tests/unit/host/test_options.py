"""Options that a kind has, beside those that every device has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from virtmesh.host.main import kind_command
from virtmesh.kinds import DeviceKind
from virtmesh_common.errors import BadMachine

if TYPE_CHECKING:
    from virtmesh.mmio.device import Device

NEEDED = ["--name", "one", "--listen", "unix:/run/one.sock"]


def make(name: str, **_options: object) -> Device:
    """Make no device: nobody starts this one."""
    raise NotImplementedError(name)


def kind(*options: click.Option) -> DeviceKind:
    """Make a kind with options."""
    return DeviceKind(name="other", title="Another device.", make=make, options=options)


def test_a_kind_may_have_a_limit_of_its_own() -> None:
    """The limits of every service have another spelling, which `virtmesh up` uses."""
    command = kind_command(kind(click.Option(["--limit"], type=int)))
    context = command.make_context(
        "other", [*NEEDED, "--limit", "16", "--service-limit", "streams=9"]
    )
    assert context.params["limit"] == 16
    assert context.params["service_limits"] == ("streams=9",)


def test_without_one_the_short_spelling_is_the_limits() -> None:
    """As for every service."""
    context = kind_command(kind()).make_context("other", [*NEEDED, "--limit", "streams=9"])
    assert context.params["service_limits"] == ("streams=9",)


@pytest.mark.parametrize(
    "option", [click.Option(["--sandbox"]), click.Option(["--mine", "service_limits"])]
)
def test_what_every_device_has_can_have_no_other_meaning(option: click.Option) -> None:
    """The error names it, and who has to change it."""
    with pytest.raises(BadMachine, match=r"kind other .*--(sandbox|limit).* package"):
        kind_command(kind(option))
