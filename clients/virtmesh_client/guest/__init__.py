"""Run real Linux guests with disks and input devices of virtmesh, over vhost-user."""
