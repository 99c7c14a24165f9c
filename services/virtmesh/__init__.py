"""Virtual hardware you can script, watch, break and restart."""

__version__ = "0.1.0"
