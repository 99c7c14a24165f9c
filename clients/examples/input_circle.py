"""Draw a circle with the tablet: press a button, move once around, release the button.

Usage: python input_circle.py [--device tablet] [--seconds 2]
"""

# ruff: noqa: INP001, T201 - a script for people

from __future__ import annotations

import argparse
import math

import virtmesh_client

RADIUS = 0.3
POINTS = 120


def main() -> None:
    """Draw the circle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="tablet")
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    angles = [2 * math.pi * number / POINTS for number in range(POINTS + 1)]
    with virtmesh_client.connect() as machine, machine.input(arguments.device) as tablet:
        circle = [
            tablet.point(0.5 + RADIUS * math.cos(angle), 0.5 + RADIUS * math.sin(angle))
            for angle in angles
        ]
        tablet.move_to(*circle[0])
        tablet.press("btn_left")
        drawn = tablet.path(circle, duration=arguments.seconds)
        end = tablet.release("btn_left", wait="delivered")
    print(f"drew {drawn.packets} points; the last packet, {end.last}, is {end.outcome}")


if __name__ == "__main__":
    main()
