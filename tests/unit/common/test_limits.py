"""Limits by name: in a machine file, on a command line, and passed on."""

from __future__ import annotations

import pytest

from virtmesh_common.limits import DEFAULTS, LIMITS, Limits, find, parse_pairs


def test_values_are_numbers_or_sizes() -> None:
    """A limit of bytes is spelled as sizes are everywhere; others stay as they are."""
    limits = Limits.of({"data-bytes": "256M", "streams": 2000})

    assert limits.data_bytes == 256 << 20
    assert limits.streams == 2000
    assert limits.calls == DEFAULTS.calls


def test_a_part_is_never_more_than_the_whole() -> None:
    """Who lowers a limit lowers that of a client and of a disk."""
    limits = Limits.of({"streams": 10, "data-bytes": "4M"})

    assert limits.streams_per_client == 10
    assert limits.data_bytes_per_disk == limits.data_bytes_per_client == 4 << 20


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ("stream=1", "did you mean streams"),
        ("streams=0", "choose from 1"),
        ("streams=many", "no whole number"),
        ("data-bytes=1K", "choose from"),
        ("streams", "write NAME=VALUE"),
    ],
)
def test_what_is_wrong_is_said_with_the_mend(pair: str, said: str) -> None:
    """A limit that is not taken is never ignored."""
    with pytest.raises(ValueError, match=said):
        Limits.of(parse_pairs([pair]))


def test_arguments_say_what_is_not_the_default() -> None:
    """A device that `virtmesh up` starts gets the limits of the machine file, and no others."""
    limits = Limits.of({"streams": 600, "turn-us": 100})
    arguments = limits.arguments()

    assert arguments == ["--service-limit", "streams=600", "--service-limit", "turn-us=100"]
    assert Limits.of(parse_pairs(arguments[1::2])) == limits
    assert DEFAULTS.arguments() == []


def test_every_part_has_its_whole() -> None:
    """A limit per client is one of a limit that is there, and the defaults fit one another."""
    parts = [one for one in LIMITS if one.whole]

    assert parts
    assert all(DEFAULTS.value(one.name) <= DEFAULTS.value(find(one.whole).name) for one in parts)
    assert DEFAULTS.consistent() == DEFAULTS
