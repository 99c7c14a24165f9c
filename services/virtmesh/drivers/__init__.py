"""Drivers: what they share. Each is in the package of its kind (virtmesh.kinds)."""
