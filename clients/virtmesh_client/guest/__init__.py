"""Real Linux guests whose disks and input devices are served by virtmesh, over vhost-user."""
