"""What every tier of the tests relies on."""

from __future__ import annotations

import signal

# A shell that starts the tests in the background has SIGINT ignored, nohup has SIGHUP ignored, and
# every process that the tests start, to send it just these, would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
