"""Headers of commands and of their answers (virtio 1.4, 5.7.6.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from virtmesh_common.gpu.spec import CTRL_HDR, VIRTIO_GPU_FLAG_FENCE, Response

if TYPE_CHECKING:
    from virtmesh_native import Interrupt

    from virtmesh.gpu.commands import Answer
    from virtmesh.gpu.refused import Refused
    from virtmesh.virtio.queue_device import Chain


class Header(NamedTuple):
    """struct virtio_gpu_ctrl_hdr."""

    command: int
    flags: int
    fence: int
    context: int
    ring: int

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Take a header apart."""
        return cls(*CTRL_HDR.unpack(data))

    def answer(self, response: Response) -> bytes:
        """Return the header of an answer. A fence comes back with it; nothing else does."""
        if self.flags & VIRTIO_GPU_FLAG_FENCE:
            return CTRL_HDR.pack(
                response, VIRTIO_GPU_FLAG_FENCE, self.fence, self.context, self.ring
            )
        return CTRL_HDR.pack(response, 0, 0, 0, 0)


class Clerk(Protocol):
    """What is told of answers."""

    interrupt: Interrupt

    def count(self, command: int, response: Response) -> None:
        """Count a command and what it was answered with."""

    def note_refusal(self, command: int, refused: Refused) -> None:
        """Log a refusal."""


class Reply:
    """The answer to one command."""

    def __init__(self, clerk: Clerk, chain: Chain, header: Header) -> None:
        self._clerk = clerk
        self._chain = chain
        self._header = header

    def finish(self, answer: Answer) -> None:
        """Answer a command that was carried out. What has no room is cut off, as QEMU does it."""
        chain, payload = self._chain, answer.payload
        needed, room = CTRL_HDR.size + len(payload), chain.writable_bytes
        if chain.writable and needed > room:
            self._clerk.interrupt.violated(
                "gpu-request",
                f"the answer has {needed} bytes, and there is room for {room}",
                queue=chain.queue,
                token=chain.token,
            )
            payload = payload[: room - CTRL_HDR.size]
        self._send(answer.response, payload)

    def refuse(self, refused: Refused) -> None:
        """Answer with an error, and record what was wrong."""
        chain = self._chain
        if refused.rule:
            self._clerk.interrupt.violated(
                refused.rule, refused.reason, queue=chain.queue, token=chain.token
            )
        self._clerk.note_refusal(self._header.command, refused)
        self._send(refused.response, b"")

    def _send(self, response: Response, payload: bytes) -> None:
        """Give the chain back with a response."""
        chain = self._chain
        self._clerk.count(self._header.command, response)
        written = 0
        if chain.writable:
            written = chain.write(self._header.answer(response) + payload)
        chain.push(written, status=int(response))
