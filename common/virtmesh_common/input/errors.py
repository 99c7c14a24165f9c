"""The exceptions of input devices. virtmesh_common.errors says how they travel over gRPC.

VirtmeshError
`-- InputError                an input event, or a script of them, that is not possible
|-- BadEvent              the device does not have it, or its value is out of range
|-- UnknownKey            no key of that name
|-- UntypableText         characters that the layout does not have
|   `-- TypingUnavailable libxkbcommon or its keyboard layouts are missing
`-- BadRecording          a recording that does not parse ("line")
"""

from __future__ import annotations

from grpc import StatusCode as Code

from virtmesh_common.errors import VirtmeshError


class InputError(VirtmeshError, code=Code.INVALID_ARGUMENT):
    """An input event, or a script of them, that is not possible."""


class BadEvent(InputError):
    """The device does not have it, or its value is out of range."""


class UnknownKey(InputError):
    """No key of that name."""


class UntypableText(InputError):
    """Characters that the layout does not have."""


class TypingUnavailable(UntypableText, code=Code.FAILED_PRECONDITION):
    """Libxkbcommon or its keyboard layouts are missing where the keys are to be found."""


class BadRecording(InputError):
    """A recording that does not parse ("line")."""
