"""What a failed command says."""

from __future__ import annotations

import pytest

from virtmesh_client.cli.errors import explain
from virtmesh_client.cli.signals import Signals
from virtmesh_common.errors import VirtmeshError


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_what_native_code_makes_of_an_interruption(
    is_interrupted: bool,  # noqa: FBT001 - a parameter of a test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The import of gRPC swallows Ctrl-C, and fails: that is no error of the program then."""
    monkeypatch.setattr(Signals, "have_interrupted", is_interrupted)

    failure = explain(ImportError("cannot initialise module strings"))

    if is_interrupted:
        assert (failure.line, failure.status) == ("virtmesh: interrupted", 130)
    else:
        assert (failure.reason, failure.status) == ("INTERNAL", 1)


def test_an_error_of_a_service_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not somebody pressed Ctrl-C."""
    monkeypatch.setattr(Signals, "have_interrupted", True)

    assert explain(VirtmeshError("the disk is full")).message == "the disk is full"
