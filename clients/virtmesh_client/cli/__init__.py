"""The command line of virtmesh.

The exit status is 0 for success, 1 for an error, 2 for wrong usage, 3 if no service answers, 130
after Ctrl-C, and 141 if standard output was closed. An error is one line on standard error, or one
JSON object with --json.
"""

from virtmesh_client.cli.main import main

__all__ = ["main"]
