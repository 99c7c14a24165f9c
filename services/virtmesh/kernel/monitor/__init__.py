"""The monitor: what talks to whoever is at the machine's serial console.

    keys.py  line_editor.py  history.py     bytes in -> bytes out and lines: no waiting, no device
    typed.py  screen.py                     the two directions of one tty
    command.py  shell.py  session.py        reading a line, obeying it, again
    commands/                               one file each, found by being there
    monitor.py                              the monitor as a user of a port (port_switch.py)

It has no log-in: who reaches the console reads the machine's disks.
"""

from virtmesh.kernel.monitor.monitor import Monitor

__all__ = ["Monitor"]
