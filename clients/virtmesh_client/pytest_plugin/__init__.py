"""A pytest plugin for those who test operating systems: the fixture `machine`.

    pytest --virtmesh-machine machine.toml      # starts it, for each test anew
    pytest --virtmesh-address HOST:50051        # connects to one that runs

    def test_the_monitor_answers(machine):
        with machine.serial() as serial:
            serial.send_line("help")
            serial.expect("virtmesh> ")

When a test fails, what the machine did since its start stands in the report, and whole in a folder:
the serial log, the trace of the devices, and what became of every event.

pytest loads this module in each of its runs, so it imports nothing but pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from virtmesh_client.pytest_plugin.options import (
    add_options,
    count_workers,
    find_scope,
    read_wish,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from virtmesh_client.machine import Machine
    from virtmesh_client.pytest_plugin.observer import Observer

OBSERVERS: pytest.StashKey[list[Observer]] = pytest.StashKey()
"""Who watches the machines that are up now."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, for the command line and for the configuration file."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Begin without machines. Errors: UsageError for options that exclude each other."""
    config.stash[OBSERVERS] = []
    # What is said on the command line counts, whatever the configuration file says.
    if config.getoption("virtmesh_machine") and config.getoption("virtmesh_address"):
        raise pytest.UsageError("give --virtmesh-machine or --virtmesh-address, not both")


@pytest.fixture(scope=find_scope)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """Give the test a machine: one started for it, or the one at --virtmesh-address.

    It is a `virtmesh_client.Machine`. A machine that is started has copies of the images that the
    machine file names beside it, so each has fresh disks. `virtmesh_scope` lets one live longer.
    """
    from virtmesh_client.pytest_plugin.start import open_machine  # noqa: PLC0415 - it loads gRPC

    config = request.config
    with open_machine(read_wish(config), count_workers(config)) as (machine, observer):
        config.stash[OBSERVERS].append(observer)
        try:
            yield machine
        finally:
            config.stash[OBSERVERS].remove(observer)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note where a test begins, on a machine that is up already."""
    for observer in observers_of(item):
        observer.mark()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failed test what its machine did. The machine is still up."""
    report = yield
    if report.failed and (observers := observers_of(item)):
        from virtmesh_client.pytest_plugin.attach import attach  # noqa: PLC0415 - it loads gRPC

        for observer in observers:
            attach(report, item, observer, read_wish(item.config).artefacts)
    return report


def observers_of(item: pytest.Item) -> list[Observer]:
    """Return who watches the machines of a test."""
    if "machine" not in getattr(item, "fixturenames", ()):
        return []
    observers: list[Observer] = item.config.stash[OBSERVERS]
    return list(observers)
