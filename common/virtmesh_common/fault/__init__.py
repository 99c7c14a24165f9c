"""Faults on demand: what can be ordered, in words and as data, and the errors."""
