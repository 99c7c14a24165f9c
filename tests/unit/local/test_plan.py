"""What `virtmesh up` would start."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from virtmesh.local import plan
from virtmesh_common.errors import BadMachine


def test_a_client_alone_can_not_host_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The mend is a command that works: pip installs what is missing."""
    monkeypatch.setattr(plan, "HOST_MODULES", ("no_such_module",))
    with pytest.raises(BadMachine, match=r"no_such_module is missing: run pip install virtmesh$"):
        plan.check_host()


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
