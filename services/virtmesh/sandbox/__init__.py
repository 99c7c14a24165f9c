"""What a service gives up before it takes strangers: files, ports, system calls, debuggers.

`sandbox.py` has the two steps; `needs.py` says what a service needs beyond what every one does;
`readable.py` and `system_calls.py` are the lists.
"""

from virtmesh.sandbox.needs import Access, Needs, needs_of_paths, ports_in, socket_folders
from virtmesh.sandbox.sandbox import ON, SANDBOX, Sandbox, sandbox_metrics

__all__ = [
    "ON",
    "SANDBOX",
    "Access",
    "Needs",
    "Sandbox",
    "needs_of_paths",
    "ports_in",
    "sandbox_metrics",
    "socket_folders",
]
