"""Puts an intruder into a Python process whose PYTHONPATH begins with a copy of this folder.

SIGUSR1 makes it try what `goals.json` beside this file says. What comes of it is a line on
standard error: INTRUDER and a JSON object.
"""

import os
import signal
from pathlib import Path


def intrude(_number: int, _frame: object) -> None:
    """Try, and tell."""
    import json  # noqa: PLC0415 - the service decides what is loaded, and when

    import attempts  # type: ignore[import-not-found]  # noqa: PLC0415

    goals = json.loads((Path(__file__).parent / "goals.json").read_text())
    said = {}
    for name in goals["attempts"]:
        os.write(2, f"INTRUDER tries {name}\n".encode())
        said[name] = attempts.attempt(name, goals)
    os.write(2, f"INTRUDER {json.dumps(said)}\n".encode())


signal.signal(signal.SIGUSR1, intrude)
