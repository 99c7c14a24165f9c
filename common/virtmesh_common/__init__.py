"""What services and clients share: stubs, errors, spec tables, evdev codes, channels."""

__version__ = "0.1.0"
