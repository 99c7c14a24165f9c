"""Fakes that ship: for the tests of scripts, drivers and devices."""
