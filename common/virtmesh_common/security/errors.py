"""The exceptions of certificates and tokens. virtmesh_common.errors says how they travel.

VirtmeshError
`-- SecurityError             what keeps strangers out is not in order
    |-- BadSecurityFolder     the folder, or a file in it, is not as it must be
    |-- NoAuthority           the folder has no authority, or not its key
    |-- NotIssued             nothing of that name, serial number or identifier was issued
    |-- BadCertificate        a certificate or bundle that does not parse, or names no role
    |-- BadToken              a token that is unknown, expired or revoked
    |-- NotAuthenticated      a caller without an identity, or with one that counts no more
    |-- NotAllowed            a call that the role of the caller does not have
    |-- PeerRefused           a process of a user that may not use a socket
    |-- Unprotected           a listener that others could reach, without TLS
    |-- LoginNeeded           a client has nothing to show to a machine on another host
    |-- BadLogin              what a client has stored, or its environment names, makes no sense
    `-- HandshakeFailed       client and machine do not take one another's certificates
"""

from __future__ import annotations

from grpc import StatusCode as Code

from virtmesh_common.errors import VirtmeshError


class SecurityError(VirtmeshError, code=Code.FAILED_PRECONDITION):
    """What keeps strangers out is not in order."""


class BadSecurityFolder(SecurityError):
    """The folder, or a file in it, is not as it must be."""


class NoAuthority(SecurityError):
    """The folder has no authority, or not its key."""


class NotIssued(SecurityError, code=Code.NOT_FOUND):
    """Nothing of that name, serial number or identifier was issued."""


class BadCertificate(SecurityError, code=Code.UNAUTHENTICATED):
    """A certificate or bundle that does not parse, or names no role."""


class BadToken(SecurityError, code=Code.UNAUTHENTICATED):
    """A token that is unknown, expired or revoked."""


class NotAuthenticated(SecurityError, code=Code.UNAUTHENTICATED):
    """A caller without an identity, or with one that counts no more ("identity")."""


class NotAllowed(SecurityError, code=Code.PERMISSION_DENIED):
    """A call that the role of the caller does not have ("role", "roles")."""


class PeerRefused(SecurityError, code=Code.PERMISSION_DENIED):
    """A process of a user or group that may not use a socket ("uid", "gid")."""


class Unprotected(SecurityError):
    """A listener that others could reach, without TLS."""


class LoginNeeded(SecurityError, code=Code.UNAUTHENTICATED):
    """A client has nothing to show to a machine on another host."""


class BadLogin(SecurityError):
    """What a client has stored, or its environment names, makes no sense."""


class HandshakeFailed(SecurityError, code=Code.UNAUTHENTICATED):
    """Client and machine do not take one another's certificates."""
