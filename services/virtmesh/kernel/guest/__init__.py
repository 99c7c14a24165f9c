"""Guests whose consoles are serial ports of the machine."""
