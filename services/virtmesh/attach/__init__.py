"""Attaching: memory and eventfds go from a driver to a device; both halves of the protocol."""
