"""Why a connection fails before its first call: the handshake is tried once more, by Python's ssl.

gRPC tells of a failed handshake in words of its own, and of what the server refused only that the
connection closed. OpenSSL has a name for each cause.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh_common.proxy import find_proxy, host_of
from virtmesh_common.security.errors import BadCertificate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from virtmesh_client.security.credentials import Credentials

SECONDS = 3.0
"""How long the other side may take, for each step."""
SUSPECT = re.compile(
    r"handshake|ssl|tls|tsi|certificate|verification|closed|reset|does not speak gRPC|HTTP/?[12]",
    re.IGNORECASE,
)
"""What gRPC says about a connection that may have failed for its credentials."""

LOG_IN = "log in with a fresh bundle: `virtmesh certs issue` makes one at the machine"
SPEAKS_TLS = (
    "it wants TLS, and nothing is stored for this address: `virtmesh login {address} BUNDLE`"
    " stores what `virtmesh certs issue` has made at the machine"
)
SPEAKS_TLS_ALONE = (
    "it wants TLS, and plain text was asked for: leave out --insecure, or insecure=True"
)
NO_TLS = (
    "it does not speak TLS, and what is stored for this address is not sent in plain text: check"
    " the port; `virtmesh logout {address}` forgets what is stored"
)
OTHER_NAME = (
    "its certificate is for other names: {detail}; `virtmesh certs init --host NAME` adds one at"
    " the machine, or name it by --server-name at `virtmesh login`"
)
OTHER_CA = (
    "its certificate is not of the authority that is trusted for this address: it is another"
    f" machine, or was set up anew; {LOG_IN}"
)
OF_SERVER = {
    "certificate has expired": "the certificate of the server has expired, or the clock of this"
    " host is ahead: `virtmesh certs init` renews it at the machine",
    "not yet valid": "the certificate of the server is not yet valid: check the clocks of both"
    " hosts",
    "ostname mismatch|IP address mismatch": OTHER_NAME,
    "unsupported certificate purpose|unsuitable certificate purpose": "its certificate is not one"
    " of a server: something else answers in the place of the machine",
    "": OTHER_CA,
}
"""What OpenSSL says about the certificate of the server, and what it means."""
WANTS_CERTIFICATE = (
    "it asks for a client certificate, and a token is stored for this address: use the port for"
    " tokens, or log in with a bundle"
)
OF_CLIENT = {
    "certificate has expired": f"the certificate of this client has expired: {LOG_IN}",
    "not yet valid": "the certificate of this client is not yet valid: check the clocks of both"
    " hosts",
    "": f"it refused the certificate of this client: another authority has issued it; {LOG_IN}",
}
"""What OpenSSL says about the certificate of the client, and what it means."""
DATES = ("certificate has expired", "not yet valid")
PLAIN = re.compile("WRONG_VERSION_NUMBER|HTTP_REQUEST|RECORD_LAYER|UNEXPECTED_EOF")
"""What OpenSSL says where no TLS is spoken."""


def explain(address: str, credentials: Credentials | None, *, insecure: bool = False) -> str:
    """Say why no connection to HOST:PORT is made; empty if its handshake works, or nobody knows.

    `insecure`: plain text was asked for, whatever is stored. It takes some seconds at most.
    """
    if find_proxy(address):
        return ""
    try:
        why = try_once(address, credentials)
    except (OSError, ValueError):
        return ""
    if why == SPEAKS_TLS and insecure:
        return SPEAKS_TLS_ALONE
    return why.replace("{address}", address)


def try_once(address: str, credentials: Credentials | None) -> str:
    """Shake hands; return what was wrong. Errors: OSError; ValueError."""
    host, _, port = address.rpartition(":")
    plain = socket.create_connection((host.strip("[]"), int(port)), SECONDS)
    with plain:
        try:
            name = credentials.server_name if credentials else ""
            context = context_of(credentials)
            with context.wrap_socket(plain, server_hostname=name or host_of(address)) as secure:
                if credentials is None:
                    return SPEAKS_TLS
                # With TLS 1.3 a server looks at our certificate afterwards. That of gRPC says
                # nothing: it closes the connection, instead of greeting.
                refused = not secure.recv(1)
        except ssl.SSLCertVerificationError as error:
            return meaning_of(error.verify_message, OF_SERVER)
        except ssl.SSLError as error:
            if PLAIN.search(error.reason or ""):
                return NO_TLS if credentials else ""
            refused = credentials is not None and "ALERT" in (error.reason or "")
    if not refused or credentials is None:
        return ""
    return meaning_of(own_fault(credentials), OF_CLIENT) if credentials.key else WANTS_CERTIFICATE


def own_fault(credentials: Credentials) -> str:
    """Say what OpenSSL finds wrong with our own certificate; empty: nothing. It talks to itself."""
    near, far = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cadata=credentials.authority)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE  # only the other half is of interest
    for context in (server, client):
        load_own(context, credentials)
    ends = (
        client.wrap_bio(near, far),
        server.wrap_bio(far, near, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
            except ssl.SSLError:
                return ""
    return ""


def check_own(credentials: Credentials) -> None:
    """Refuse credentials that no machine can take, whatever it trusts. Errors: BadCertificate.

    Dates are not looked at: the clocks of others decide on them.
    """
    check_parts(credentials)
    fault = own_fault(credentials) if credentials.key else ""
    if fault and not any(re.search(date, fault) for date in DATES):
        raise torn("the bundle", fault)


def check_parts(credentials: Credentials, where: str = "the bundle") -> None:
    """Refuse a key of another certificate, and what does not parse. Errors: BadCertificate.

    gRPC says of them in its own log, and to its caller that no service answers.
    """
    try:
        context_of(credentials)
    except (ssl.SSLError, ValueError) as error:
        raise torn(where, getattr(error, "reason", None) or str(error)) from None


def torn(where: str, fault: str) -> BadCertificate:
    """Make the error for parts that do not fit."""
    return BadCertificate(
        f"key, certificate and authority of {where} do not belong together, or are damaged"
        f" ({fault}): ask for a fresh bundle, of `virtmesh certs issue`"
    )


def load_own(context: ssl.SSLContext, credentials: Credentials) -> None:
    """Load our certificate and key. ssl reads them from a file only: there is one for a moment."""
    descriptor, path = tempfile.mkstemp()  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(credentials.key + credentials.certificate)
        context.load_cert_chain(path)
    finally:
        Path(path).unlink()


def context_of(credentials: Credentials | None) -> ssl.SSLContext:
    """Return the context of a client; without credentials one that only asks for TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    if credentials is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # nothing is sent but what opens the handshake
        return context
    context.load_verify_locations(cadata=credentials.authority)
    if credentials.key:
        load_own(context, credentials)
    return context


def meaning_of(said: str, meanings: Mapping[str, str]) -> str:
    """Return what words of OpenSSL mean; the last row of a table is for all others."""
    meaning = next(text for pattern, text in meanings.items() if re.search(pattern, said))
    return meaning.replace("{detail}", said.rstrip("."))
