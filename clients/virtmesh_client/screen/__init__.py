"""Screens of a machine."""
