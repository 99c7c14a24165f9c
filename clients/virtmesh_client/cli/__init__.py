"""The command line of virtmesh.

Exit status: 0 done, 1 an error, 2 wrong usage, 3 no service answers, 130 Ctrl-C, 141 closed
standard output. An error is one line on standard error, or one JSON object with --json.
"""

from virtmesh_client.cli.main import cli, main

__all__ = ["cli", "main"]
