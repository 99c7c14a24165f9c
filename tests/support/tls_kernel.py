"""A kernel with disks in memory behind TLS: what a client meets at another host.

with tls_kernel(folder) as kernel:
    connect(kernel.address, credentials=...)
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from virtmesh_client.testing import FakeKernel
from virtmesh_common.security.server_files import CA, SERVER, SERVER_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class TlsKernel:
    """Where it listens."""

    port: int
    plain_port: int
    """It has the same services, without TLS."""

    @property
    def address(self) -> str:
        """The address that has TLS."""
        return f"127.0.0.1:{self.port}"

    @property
    def plain_address(self) -> str:
        """The address that has none."""
        return f"127.0.0.1:{self.plain_port}"


@contextmanager
def tls_kernel(folder: Path, *, certificates: bool = True) -> Iterator[TlsKernel]:
    """Serve with the files of a security folder; with `certificates`, clients must show theirs."""
    pair = ((folder / SERVER_KEY).read_bytes(), (folder / SERVER).read_bytes())
    credentials = grpc.ssl_server_credentials(
        [pair], (folder / CA).read_bytes() if certificates else None, certificates
    )
    kernel = FakeKernel(vda=1 << 20)
    found = TlsKernel(
        kernel._server.add_secure_port("127.0.0.1:0", credentials),
        kernel._server.add_insecure_port("127.0.0.1:0"),
    )
    with kernel:
        yield found
