"""What every tier of the tests relies on."""

from __future__ import annotations

import signal

# A shell that starts the tests in the background has SIGINT ignored, and so would every process
# that they start and press Ctrl-C in.
signal.signal(signal.SIGINT, signal.default_int_handler)
