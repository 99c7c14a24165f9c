"""What every tier of the tests relies on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from hypothesis import settings

# A shell that starts the tests in the background has SIGINT ignored, nohup has SIGHUP ignored, and
# every process that the tests start, to send it just these, would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A proxy of the environment is not for what tests start on this host (urllib asks it even then).
os.environ["no_proxy"] = ",".join(
    filter(None, [os.environ.get("no_proxy"), "localhost", "127.0.0.1", "::1"])
)

# Processes that tests start find tests/support as the tests themselves do.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
)

# A test must not fail because the machine is busy; pytest's own timeout bounds those that hang.
settings.register_profile("virtmesh", deadline=None)
settings.load_profile("virtmesh")
