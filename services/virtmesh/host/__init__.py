"""The host: one set of servicers that serves any device model."""
