"""`virtmesh status`: what it says of the machines that run here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from virtmesh.local import run_folder
from virtmesh_client.cli.run import run
from virtmesh_client.local import rundir

DEVICE, KERNEL = "127.0.0.1:9001", "127.0.0.1:9000"


def save_machine(security: rundir.FolderState | None) -> None:
    """Save the state of a machine whose processes are this one; both have a page of metrics."""
    folder = rundir.default("demo")
    run_folder.prepare(folder)
    pid, ticks = os.getpid(), rundir.start_ticks(os.getpid()) or 0
    run_folder.save(
        rundir.MachineState(
            name="demo",
            run_dir=str(folder),
            address=f"unix:{folder}/kernel.sock",
            status="ready",
            supervisor=rundir.ProcessState("supervisor", "supervisor", pid, ticks),
            processes=(
                rundir.ProcessState("vda", "blk", pid, ticks, metrics=DEVICE),
                rundir.ProcessState("kernel", "kernel", pid, ticks, metrics=KERNEL),
            ),
            security=security,
        )
    )


@pytest.mark.parametrize("secure", [True, False])
def test_a_page_behind_tls_has_an_address_that_a_browser_takes(
    secure: bool,  # noqa: FBT001
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The security folder of a machine is that of its kernel; a device's page has no TLS."""
    save_machine(rundir.FolderState.of(tmp_path) if secure else None)

    assert run(["status"]) == 0

    said = capfd.readouterr().out
    assert (f"https://{KERNEL}/metrics" in said) is secure
    assert (f"http://{KERNEL}/metrics" in said) is not secure
    assert f"http://{DEVICE}/metrics" in said


def test_who_asks_about_another_host_is_told_what_does(capfd: pytest.CaptureFixture[str]) -> None:
    """The machines of this host are all that it knows."""
    assert run(["--address", "far.example:50051", "status"]) == 0

    said = capfd.readouterr().out
    assert said == ("no machine runs here; `virtmesh devices` asks the one at far.example:50051\n")
