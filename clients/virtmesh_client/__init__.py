"""The client of virtmesh: use the devices of a machine from a script, on any host.

    import virtmesh_client

    with virtmesh_client.connect("unix:/run/user/1000/virtmesh/demo/kernel.sock") as machine:
        disk = machine.disk("vda")
        disk.import_from("disk.img")
        print(disk.read(offset=1024, length=16).hex())

`connect` returns a machine with blocking calls, `aconnect` one with asyncio calls. Errors are the
classes of `virtmesh_common.errors`. The error of a failed copy says in its `metadata` and its notes
how many bytes were copied.

The names are imported at the first use of one. The command line begins with this package: it must
not pay for what it does not use, and Ctrl-C while this module is imported prints a traceback.
"""

TYPE_CHECKING = False
"""As in `typing`, which takes time to import: type checkers know the name."""
if TYPE_CHECKING:
    from typing import Any

    from virtmesh_client.library import *  # noqa: F403 - the list stands there, once

SPECIAL = ("__all__", "__version__")
"""Those names of the library that Python could ask for by itself."""


def __getattr__(name: str) -> "Any":
    """Return a name of the library. Errors: AttributeError."""
    if not name.startswith("__") or name in SPECIAL:
        from importlib import import_module  # noqa: PLC0415

        library = import_module("virtmesh_client.library")
        if hasattr(library, name):
            return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)


def __dir__() -> list[str]:
    """Name what there is."""
    return sorted({*globals(), *__getattr__("__all__")})
