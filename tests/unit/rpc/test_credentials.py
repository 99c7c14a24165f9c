"""What a server takes from its security folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtmesh.rpc.credentials import Credentials
from virtmesh_common.security.errors import NoAuthority


def test_a_folder_without_an_authority_is_said_with_the_command_that_makes_one(
    tmp_path: Path,
) -> None:
    """Whoever made the folder by hand looks for no list that is missing."""
    folder = tmp_path / "security"
    folder.mkdir(mode=0o700)

    with pytest.raises(NoAuthority, match=r"has no ca\.pem: `virtmesh certs init`"):
        Credentials(folder)
