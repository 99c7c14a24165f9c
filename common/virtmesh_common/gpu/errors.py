"""The exceptions of screens. virtmesh_common.errors says how they travel over gRPC.

VirtmeshError
`-- ScreenError          a screen did not do what it was asked for
    |-- NoSuchScanout    the GPU has no scanout with this number ("scanouts")
    |-- NoPicture        nothing is shown on the scanout
    |-- ScreenBusy       a screenshot was not taken in time
    |-- BadMode          a mode that a screen can't have
    |-- ScreenTimeout    a screen did not show in time what was waited for ("score", "seen")
    |-- BadNeedle        a picture that can't be looked for
    |-- BadRectangle     a rectangle that is not inside of the framebuffer
    `-- CommandFailed    the GPU refused a command of its driver ("response")
"""

from __future__ import annotations

from grpc import StatusCode as Code

from virtmesh_common.errors import VirtmeshError


class ScreenError(VirtmeshError, code=Code.FAILED_PRECONDITION):
    """A screen did not do what it was asked for."""


class NoSuchScanout(ScreenError, code=Code.NOT_FOUND):
    """The GPU has no scanout with this number ("scanouts")."""


class NoPicture(ScreenError):
    """Nothing is shown on the scanout."""


class ScreenBusy(ScreenError, code=Code.RESOURCE_EXHAUSTED):
    """A screenshot was not taken in time: the service has too much to do."""


class BadMode(ScreenError, code=Code.INVALID_ARGUMENT):
    """A mode that a screen can't have."""


class ScreenTimeout(ScreenError, code=Code.DEADLINE_EXCEEDED):
    """A screen did not show in time what was waited for ("score", "seen")."""


class BadNeedle(ScreenError, code=Code.INVALID_ARGUMENT):
    """A picture that can't be looked for."""


class BadRectangle(ScreenError, code=Code.INVALID_ARGUMENT):
    """A rectangle that is not inside of the framebuffer."""


class CommandFailed(ScreenError, code=Code.INTERNAL):
    """The GPU refused a command of its driver ("response")."""
