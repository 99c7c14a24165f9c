"""A template in a process of its own: python -m virtmesh.local.template DESCRIPTOR."""

from __future__ import annotations

import gc
import socket
import sys

from virtmesh.local.template.process import preload, run

if __name__ == "__main__":
    gc.disable()
    preload(())
    sys.exit(run(socket.socket(fileno=int(sys.argv[1]))))
