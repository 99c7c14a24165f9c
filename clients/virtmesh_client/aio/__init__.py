"""How blocking calls are awaited; the faces of devices and machines are made of it."""
