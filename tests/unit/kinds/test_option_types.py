"""Types of options that several services have."""

from __future__ import annotations

import click
import pytest

from virtmesh.kinds.option_types import Keepalive


@pytest.mark.parametrize("given", ["nan", "-1", "inf", "1e9", "soon"])
def test_what_is_no_time_between_pings(given: str) -> None:
    """Not a number is in every range; a timer of such a length would never ring."""
    with pytest.raises(click.BadParameter):
        Keepalive().convert(given, None, None)


@pytest.mark.parametrize(("given", "seconds"), [("0", 0.0), ("15", 15.0), ("0.5", 0.5)])
def test_a_time_between_pings(given: str, seconds: float) -> None:
    """It is a number of seconds."""
    assert Keepalive().convert(given, None, None) == seconds
