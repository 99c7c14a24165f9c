"""Guests that run on the serial ports of a machine, for people and scripts on any host."""
