"""`virtmesh up` watches over a machine whose listeners want what it has not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from virtmesh_common.security.authority import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.cli import Cli

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

LISTEN = {
    "TLS first": ["127.0.0.1:0", "unix:kernel.sock"],
    "TLS alone": ["127.0.0.1:0"],
}


@pytest.fixture(params=LISTEN)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Write a machine file."""
    Authority.create(tmp_path / "security").close()
    file = tmp_path / "machine.toml"
    file.write_text(
        f'name = "locked"\n[kernel]\nlisten = {LISTEN[request.param]}\n'
        f'[security]\nfolder = "{tmp_path / "security"}"\n'
        '[[devices]]\nname = "keyboard"\nkind = "input"\noptions = {personality = "keyboard"}\n'
    )
    return file


def test_a_machine_behind_tls_is_watched_by_its_socket(cli: Cli, file: Path) -> None:
    """It becomes ready, and whoever is on its host needs no login."""
    cli.up(file)
    result = cli("devices", "--json")

    assert cli.state.status == "ready"
    assert cli.state.address.startswith("unix:")
    assert '"name": "keyboard"' in result.stdout
    assert "replaced as a whole" not in cli("status").stdout
    security = file.parent / "security"
    security.rename(file.parent / "before")
    Authority.create(security).close()
    assert f"{security} was removed or replaced as a whole" in cli("status").stdout
