"""What `virtmesh up` would start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from virtmesh.local import installation, plan
from virtmesh_common.errors import BadMachine
from virtmesh_common.security.errors import Unprotected


def test_a_client_alone_can_not_host_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mend is a command that works: pip installs what is missing."""
    monkeypatch.setattr(installation, "HOST_MODULES", ("no_such_module",))
    with pytest.raises(BadMachine, match=r"no_such_module is missing: run pip install virtmesh$"):
        installation.check_host()


def test_port_0_becomes_a_free_port_that_is_given_once() -> None:
    """So that a restarted process keeps its address."""
    taken: set[int] = set()
    ports = {plan.pick_port("127.0.0.1:0", taken) for _ in range(5)}
    assert len(ports) == 5
    host, _, port = ports.pop().rpartition(":")
    with socket.socket() as probe:
        probe.bind((host, int(port)))


@pytest.mark.parametrize("address", ["127.0.0.1:9464", "unix:/tmp/x.sock", ""])
def test_any_other_address_stays(address: str) -> None:
    """It was chosen."""
    assert plan.pick_port(address, set()) == address


def test_what_opens_a_machine_is_named_as_its_file_has_it(tmp_path: Path) -> None:
    """Also for the page of metrics."""
    file = tmp_path / "machine.toml"
    for line in ('listen = ["unix:kernel.sock", "0.0.0.0:50999"]', 'metrics = "0.0.0.0:50999"'):
        file.write_text(f"[kernel]\n{line}\n")
        with pytest.raises(Unprotected, match=r"50999: .*insecure = true there"):
            plan.make_plan(file, tmp_path / "run")
        file.write_text(f"[kernel]\n{line}\n[security]\ninsecure = true\n")
        (warning,) = plan.make_plan(file, tmp_path / "run").warnings
        assert warning.startswith("0.0.0.0:50999 is open")


def test_a_plan_has_all_places_for_clients(tmp_path: Path) -> None:
    """And the security folder, which is relative to the machine file."""
    file = tmp_path / "machine.toml"
    file.write_text(
        '[kernel]\nlisten = ["127.0.0.1:50998", "unix:k.sock", "127.0.0.1:0"]\n'
        'listen-tokens = "127.0.0.1:50997"\nlisten-roles = "observer=unix:o.sock"\n'
        '[security]\nfolder = "security"\n'
    )
    run_dir = tmp_path / "run"
    found = plan.make_plan(file, run_dir)
    assert found.security == tmp_path / "security"
    assert found.addresses == (
        *("127.0.0.1:50998", f"unix:{run_dir}/k.sock", "127.0.0.1:50997"),
        f"unix:{run_dir}/o.sock",
    )


def test_a_handover_socket_that_can_not_be_is_refused(tmp_path: Path) -> None:
    """Its path is longer than that of the device's own socket."""
    file = tmp_path / "machine.toml"
    file.write_text(
        '[kernel]\nlisten = "127.0.0.1:1"\n[[devices]]\nname = "vda"\nkind = "blk"\n'
        '[devices.options]\nimage = "a.img"\n'
    )
    run_dir = tmp_path / ("x" * (107 - len(str(tmp_path)) - len("//vda.sock")))
    with pytest.raises(BadMachine, match=r"9 bytes too long for a socket.*--run-dir"):
        plan.make_plan(file, run_dir)
