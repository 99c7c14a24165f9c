"""The entry point of `virtmesh`.

This module imports nothing that takes time: a Ctrl-C during an import prints a traceback, unless
somebody waits for it here.
"""

import os
import sys

INTERRUPTED = 130
"""Exit status after Ctrl-C: what a shell has for a process that SIGINT ended."""


def main() -> None:
    """Run the command line of this process.

    It ends without Python's own end, which would take as long as many a command, and prints a
    traceback for a Ctrl-C. All that a command has begun, it has ended when `run` returns.
    """
    try:
        status = run_process()
    except KeyboardInterrupt:  # before `Signals` had it, or while the failure was told
        status = INTERRUPTED
    os._exit(status)


def run_process() -> int:
    """Import the command line, run it, and return the exit status."""
    from virtmesh_client.cli.signals import Signals  # noqa: PLC0415 - see above

    # gRPC has a line for each handshake that fails: what is wrong with it, we say ourselves.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    signals = Signals()
    signals.end_this_process()
    from virtmesh_client.cli.output import open_standard_files  # noqa: PLC0415 - see above
    from virtmesh_client.cli.run import run  # noqa: PLC0415 - see above

    open_standard_files()
    signals.interrupt_this_thread()
    status = run(sys.argv[1:])
    signals.end_this_process()
    return status
