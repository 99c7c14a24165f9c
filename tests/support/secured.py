"""Services with TLS in processes of their own, and callers of every kind."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import grpc

from tests.support.cli import eventually
from virtmesh_common.security.authority import Authority
from virtmesh_common.security.roles import Role
from virtmesh_common.security.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from virtmesh_common.security.bundle import Bundle

SECONDS = 60.0
"""Limit of a call."""
ANY = "127.0.0.1:0"


@dataclass(frozen=True)
class Address:
    """Where one service listens."""

    certificates: str
    tokens: str
    roles: Mapping[Role, str]


class SecuredService:
    """A service that listens in every way that has a role, with the log of its process."""

    def __init__(self, module: str, folder: Path, name: str, *arguments: str) -> None:
        sockets = [f"{role}=unix:{folder / name}-{role}.sock" for role in Role]
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", module, *arguments),
                    *("--listen", f"unix:{folder / name}.sock", "--listen", ANY),
                    *("--listen-tokens", ANY, "--security", str(folder / "security")),
                    *(one for socket in sockets for one in ("--listen-role", socket)),
                    *("--log", "json"),
                ],
                cwd=folder,
                stderr=log,
            )
        self.name = name

    @cached_property
    def address(self) -> Address:
        """Where it listens, once it does."""
        _, certificates, tokens, *sockets = self.line("serving")["addresses"]
        return Address(certificates, tokens, dict(zip(Role, sockets, strict=True)))

    def lines(self, event: str, **facts: object) -> list[dict[str, Any]]:
        """Return the lines of the log about an event with these facts."""
        texts = self.log.read_text(encoding="utf-8").split("\n")[:-1]
        lines = [json.loads(text) for text in texts if text.startswith("{")]
        return [one for one in lines if one["event"] == event and facts.items() <= one.items()]

    def line(self, event: str, **facts: object) -> dict[str, Any]:
        """Wait for such a line, and return the first. Errors: RuntimeError if the process ends."""

        def found() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"the service ended: {self.log.read_text(encoding='utf-8')}")
            return bool(self.lines(event, **facts))

        eventually(found)
        return self.lines(event, **facts)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=SECONDS)


class People:
    """The authority of a folder, with callers of every kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "security"
        self.authority = Authority.create(self.folder)
        self.tokens = Tokens(self.folder)
        self.bundles = {role: self.issue(role) for role in Role}

    def issue(self, role: Role, name: str = "", *, age: float = 0, days: float = 1) -> Bundle:
        """Issue a certificate. `age` is how many days ago that was; negative: in the future."""
        when = datetime.now(UTC) - timedelta(days=age)
        return self.authority.issue(name or str(role), role, days, now=when)[1]

    def token(self, role: Role, name: str = "robot", *, age: float = 0) -> str:
        """Make a token, `age` days ago, for a day."""
        when = datetime.now(UTC) - timedelta(days=age)
        return self.tokens.make(name, role, days=1, now=when)[0]


class Keyboard(SecuredService):
    """A keyboard."""

    def __init__(self, people: People) -> None:
        arguments = ("input", "--name", "keyboard", "--personality", "keyboard")
        super().__init__("virtmesh.host.main", people.folder.parent, "keyboard", *arguments)
        self.people = people

    def channel(self, bundle: Bundle) -> grpc.Channel:
        """Open a channel with a certificate."""
        return channel_with(self.address.certificates, bundle, bundle.authority)

    def tokens(self) -> grpc.Channel:
        """Open a channel to the listener for tokens."""
        return channel_with(self.address.tokens, None, self.people.authority.certificate)


def channel_with(address: str, bundle: Bundle | None, authority: str) -> grpc.Channel:
    """Open a channel over TLS, with a client certificate or without."""
    identity = (bundle.key.encode(), bundle.certificate.encode()) if bundle else (None, None)
    return grpc.secure_channel(
        address,
        grpc.ssl_channel_credentials(authority.encode(), *identity),
        options=(("grpc.use_local_subchannel_pool", 1),),
    )


def status_of(
    channel: grpc.Channel,
    method: str,
    metadata: Sequence[tuple[str, str]] = (),
    *,
    is_stream: bool = False,
    message: bytes = b"",
) -> tuple[str, str]:
    """Call a method with one message; return the name of its status and its text.

    A stream that was let in is cut short: OK.
    """
    multicall: Any = channel.stream_stream(method)
    call = multicall(iter([message]), timeout=SECONDS, metadata=metadata)
    try:
        if is_stream:
            call.initial_metadata()
            if not call.is_active():
                list(call)
        else:
            list(call)
    except grpc.RpcError as failure:
        status: Any = failure
        return status.code().name, status.details() or ""
    finally:
        call.cancel()
    return "OK", ""
