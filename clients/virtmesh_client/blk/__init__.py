"""Disks: read, write, copy."""
