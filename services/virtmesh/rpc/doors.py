"""Who calls, by what the listener asks for: one door for each kind of listener."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from virtmesh.rpc.caller import Caller
from virtmesh_common.security.errors import BadSecurityFolder, NotAuthenticated
from virtmesh_common.security.identity import Identity, IdentityKind
from virtmesh_common.security.names import AUTHORIZATION, BEARER
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_common.security.client_certificates import ClientCertificates
    from virtmesh_common.security.tokens import Tokens

    Metadata = Iterable[tuple[str, Any]]

LOOPBACK_PEERS = ("ipv4:127.", "ipv6:%5B::1%5D", "ipv6:[::1]", "ipv6:%5B::ffff:127.")
"""How gRPC spells the addresses of loopback."""


class Door(Protocol):
    """Lets callers in."""

    def caller(self, context: Any, metadata: Metadata) -> Caller:
        """Return who calls. Errors: NotAuthenticated; BadCertificate; BadToken."""

    def check(self, identity: Identity) -> None:
        """Refuse an identity that counts no more. Errors: NotAuthenticated."""


class SocketDoor:
    """A unix socket: who may open it has its role."""

    def __init__(self, role: Role) -> None:
        self._caller = Caller(Identity(f"{role} socket", role, IdentityKind.SOCKET), "unix:")

    def caller(self, context: Any, metadata: Metadata) -> Caller:
        """Return the one that all are."""
        return self._caller

    def check(self, identity: Identity) -> None:
        """Refuse nobody."""


class PlainDoor:
    """TCP without TLS: whoever connects is the owner.

    A token that another host sends is refused: the network has read it.
    """

    _loopback = Identity("loopback", Role.OWNER, IdentityKind.LOOPBACK)
    _anyone = Identity("anyone", Role.OWNER, IdentityKind.INSECURE)

    def caller(self, context: Any, metadata: Metadata) -> Caller:
        """Return who calls. Errors: NotAuthenticated."""
        peer = context.peer()
        if peer.startswith(LOOPBACK_PEERS):
            return Caller(self._loopback, peer)
        if any(key == AUTHORIZATION for key, _ in metadata):
            raise NotAuthenticated(
                "a token came over a connection without TLS, where others can read it: revoke it,"
                " and send the next one to the TLS listener for tokens"
            )
        return Caller(self._anyone, peer)

    def check(self, identity: Identity) -> None:
        """Refuse nobody."""


class CertificateDoor:
    """TLS with client certificates: gRPC has checked signature and dates when they connected."""

    def __init__(self, certificates: ClientCertificates) -> None:
        self._certificates = certificates

    def caller(self, context: Any, metadata: Metadata) -> Caller:
        """Return who calls. Errors: NotAuthenticated; BadCertificate."""
        certificates = context.auth_context().get("x509_pem_cert", ())
        if len(certificates) != 1:
            raise NotAuthenticated(
                "no client certificate came: `virtmesh certs issue` makes one, and `virtmesh login`"
                " stores it"
            )
        try:
            identity = self._certificates.identify(certificates[0])
        except BadSecurityFolder as error:
            raise unreadable() from error
        self.check(identity)
        return Caller(identity, context.peer())

    def check(self, identity: Identity) -> None:
        """Refuse an identity that counts no more. Errors: NotAuthenticated."""
        try:
            why = self._certificates.why_not(identity)
        except BadSecurityFolder as error:
            raise unreadable() from error
        if why:
            raise counts_no_more("the certificate", identity, why)


class TokenDoor:
    """TLS with a bearer token in the metadata of each call (RFC 6750, 2.1)."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def caller(self, context: Any, metadata: Metadata) -> Caller:
        """Return who calls. Errors: NotAuthenticated; BadToken."""
        sent = [value for key, value in metadata if key == AUTHORIZATION]
        if len(sent) != 1 or sent[0][: len(BEARER)].lower() != BEARER.lower():
            raise NotAuthenticated(
                "no token came, and this port is for tokens: certificates have another, or send"
                " one in the metadata `authorization: Bearer TOKEN`"
            )
        try:
            identity = self._tokens.find(sent[0][len(BEARER) :])
        except BadSecurityFolder as error:
            raise unreadable() from error
        return Caller(identity, context.peer())

    def check(self, identity: Identity) -> None:
        """Refuse an identity that counts no more. Errors: NotAuthenticated."""
        try:
            state = self._tokens.state(identity.serial)
        except BadSecurityFolder as error:
            raise unreadable() from error
        if state != "valid":
            raise counts_no_more("the token", identity, f"is {state}")


def counts_no_more(what: str, identity: Identity, why: str) -> NotAuthenticated:
    """Make the error for an identity that counted once."""
    return NotAuthenticated(
        f"{what} {identity.serial} of {identity.name} {why}: ask the owner of the machine for"
        " another one",
        identity=identity.name,
        serial=identity.serial,
    )


def unreadable() -> NotAuthenticated:
    """Make the error for a service that can't tell who was revoked: it lets nobody in."""
    return NotAuthenticated(
        "the service can't read its list of who counts no more, so nobody is let in: its log says"
        " more"
    )
