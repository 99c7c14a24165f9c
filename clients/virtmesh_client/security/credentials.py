"""What a client shows to a machine, and what it trusts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from virtmesh_common.security.bundle import LIMIT_BYTES, parse_authority, parse_bundle
from virtmesh_common.security.errors import BadCertificate, BadToken
from virtmesh_common.security.names import AUTHORIZATION, BEARER, TOKEN

if TYPE_CHECKING:
    import grpc


@dataclass(frozen=True)
class Credentials:
    """A client certificate with its key, or a token; and the authority that the client trusts.

    Example:
        credentials = Credentials.from_bundle("alice.pem")
        machine = virtmesh_client.connect("host:50051", credentials=credentials)
    """

    authority: str
    """PEM."""
    certificate: str = ""
    """PEM; empty with a token."""
    key: str = field(default="", repr=False)
    """PEM; empty with a token."""
    token: str = field(default="", repr=False)
    server_name: str = ""
    """The name that the certificate of the server has; empty: that of the address."""

    @classmethod
    def from_bundle(cls, bundle: str | Path | bytes, *, server_name: str = "") -> Self:
        """Take what `virtmesh certs issue` made: the path of a file, or its content as bytes.

        Errors: BadCertificate; OSError.
        """
        data = bundle if isinstance(bundle, bytes) else read_bounded(Path(bundle))
        found = parse_bundle(data)
        return cls(found.authority, found.certificate, found.key, server_name=server_name)

    @classmethod
    def from_token(
        cls, token: str, authority: str | Path | bytes, *, server_name: str = ""
    ) -> Self:
        """Take a token, and the authority of the machine: the path of ca.pem, or its content.

        Errors: BadToken; BadCertificate; OSError.
        """
        if not TOKEN.fullmatch(token):
            raise BadToken(
                "that is no token of `virtmesh tokens issue`: one has the form vmt_NUMBER_SECRET,"
                " with 12 and 32 characters"
            )
        data = authority if isinstance(authority, bytes) else read_bounded(Path(authority))
        return cls(parse_authority(data), token=token, server_name=server_name)

    @property
    def kind(self) -> str:
        """Return "certificate" or "token"."""
        return "token" if self.token else "certificate"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call. It goes over TLS only."""
        return ((AUTHORIZATION, f"{BEARER}{self.token}"),) if self.token else ()

    def of_channel(self) -> grpc.ChannelCredentials:
        """Return these for a channel of gRPC."""
        import grpc  # noqa: PLC0415 - it takes time, and who only stores credentials has no use

        return grpc.ssl_channel_credentials(
            self.authority.encode(),
            self.key.encode() or None,
            self.certificate.encode() or None,
        )


def read_bounded(path: Path) -> bytes:
    """Read a file that can't be long. Errors: BadCertificate; OSError."""
    with path.open("rb") as file:
        data = file.read(LIMIT_BYTES + 1)
    if len(data) > LIMIT_BYTES:
        raise BadCertificate(f"{path} has more than {LIMIT_BYTES >> 10} KiB: it is no bundle")
    return data
