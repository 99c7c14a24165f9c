"""Fuzz one target.

Usage: python -m tests.fuzz.run NAME [OPTIONS OF LIBFUZZER] [FOLDERS OR FILES]

`make fuzz` starts it. With a file, that input alone is run: so a crash is reproduced.
"""

from __future__ import annotations

import logging
import sys

import atheris
import structlog

from tests.fuzz.target import load


def main() -> None:
    """Watch our modules, open the target, and hand its inputs to libFuzzer."""
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(
        include=["virtmesh", "virtmesh_client", "virtmesh_common"],
        exclude=["virtmesh_common.api", "virtmesh_common.evdev"],
        enable_loader_override=False,
    ):
        target = load(name)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with target.open() as run:
        atheris.Setup([sys.argv[0], f"-max_len={target.longest}", *options], run)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
