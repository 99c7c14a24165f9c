"""Fakes for people's own tests of scripts, drivers and devices."""
