"""Which credentials a connection uses: what is given, what the environment or a login has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh_common.proxy import is_local
from virtmesh_common.security.errors import BadLogin, LoginNeeded

if TYPE_CHECKING:
    from virtmesh_client.security.credentials import Credentials

BUNDLE_VARIABLE = "VIRTMESH_CREDENTIALS"
"""Path of a bundle."""
TOKEN_VARIABLE = "VIRTMESH_TOKEN"  # noqa: S105 - the name of a variable
CA_VARIABLE = "VIRTMESH_CA"
"""Path of the ca.pem that goes with the token."""


def choose(
    address: str, given: Credentials | None = None, *, insecure: bool = False
) -> Credentials | None:
    """Return the credentials for an address; None: a unix socket, or plaintext.

    Plaintext is only used on the loopback where nobody has logged in, or where it was asked for.
    Errors: ValueError for a contradiction; LoginNeeded; BadLogin, BadToken, BadCertificate for what
    is stored or in the environment and makes no sense.
    """
    if address.startswith("unix:"):
        if given is not None:
            raise ValueError(f"{address} is a unix socket: it takes no credentials")
        return None
    if insecure:
        if given is not None:
            raise ValueError("credentials are not sent over an insecure connection: give one")
        return None
    if given is not None:
        return given
    found = from_environment() or stored(address)
    if found is None and not is_local(address):
        raise LoginNeeded(
            f"nothing is stored for {address}: `virtmesh login {address} BUNDLE` stores what"
            " `virtmesh certs issue` has made at the machine",
            address=address,
        )
    return found


def stored(address: str) -> Credentials | None:
    """Return what `virtmesh login` has stored. Errors: BadLogin."""
    from virtmesh_client.security import logins  # noqa: PLC0415 - unix sockets do without

    return logins.find(address)


def from_environment() -> Credentials | None:
    """Return what the environment names: a bundle, or else a token.

    Errors: BadLogin; BadCertificate; BadToken.
    """
    bundle, token = os.environ.get(BUNDLE_VARIABLE), os.environ.get(TOKEN_VARIABLE)
    if not bundle and not token:
        return None
    from virtmesh_client.security.credentials import Credentials  # noqa: PLC0415 - see above
    from virtmesh_client.security.handshake import check_parts  # noqa: PLC0415

    authority = os.environ.get(CA_VARIABLE)
    try:
        if bundle:
            found = Credentials.from_bundle(Path(bundle))
            check_parts(found, bundle)
            return found
        if not authority:
            raise BadLogin(f"${TOKEN_VARIABLE} needs ${CA_VARIABLE}, the path of a ca.pem")
        return Credentials.from_token(token or "", Path(authority))
    except OSError as error:
        raise BadLogin(f"{error.filename}, of the environment: {error.strerror}") from None
