"""The option --without: features by name, and what is refused."""

from __future__ import annotations

import re

import click
import pytest

from virtmesh.blk import options as blk_options
from virtmesh.input import options as input_options
from virtmesh_common.blk.spec import BlkFeature
from virtmesh_common.virtio.features import Feature


def option(options: tuple[click.Option, ...]) -> click.Option:
    """Return the option of a kind of device."""
    return next(one for one in options if one.name == "without")


def parse(text: str) -> int:
    """Parse what was given for a disk."""
    return int(option(blk_options.OPTIONS).type.convert(text, None, None))


@pytest.mark.parametrize("name", ["ring_packed", "RING_PACKED", "VIRTIO_F_RING_PACKED"])
def test_a_feature_has_the_name_of_the_specification(name: str) -> None:
    """In any case, with its prefix or without."""
    assert parse(name) == Feature.VIRTIO_F_RING_PACKED


def test_several_are_joined_by_plus() -> None:
    """Once or twice makes no difference."""
    assert parse("event_idx+discard+event_idx") == (
        Feature.VIRTIO_F_EVENT_IDX | BlkFeature.VIRTIO_BLK_F_DISCARD
    )


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("ring_paked", "did you mean ring_packed?"),
        ("version_1", "it can do without indirect_desc, event_idx, ring_packed"),
        ("sr_iov", "it can do without"),
        ("", "it can do without"),
        ("discard+", "it can do without"),
    ],
)
def test_what_can_not_be_left_out_is_refused(text: str, mend: str) -> None:
    """With the nearest name, or all of them."""
    with pytest.raises(click.BadParameter, match=re.escape(mend)):
        parse(text)


def test_an_input_device_has_no_features_of_disks() -> None:
    """Each kind of device knows its own."""
    with pytest.raises(click.BadParameter, match="it can do without indirect_desc"):
        option(input_options.OPTIONS).type.convert("discard", None, None)
