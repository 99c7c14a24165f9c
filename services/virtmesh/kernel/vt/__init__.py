"""The virtual terminal: the monitor on a screen of the machine, with its keyboards and pointers.

    font.py  grid.py  keymap.py             glyphs, cells of text, keys as bytes: no device
    painter.py  pointer.py                  what a GPU shows of them
    keyboard_tty.py                         both directions as a tty, for a session
    terminal.py                             all of it, and the devices that come and go

A guest never meets it: it uses devices that the kernel itself drives.
"""

from virtmesh.kernel.vt.terminal import VirtualTerminal

__all__ = ["VirtualTerminal"]
