"""Fixtures and helpers that only the tests of this repository need."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the repository."""
