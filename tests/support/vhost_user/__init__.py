"""A vhost-user front end for tests, and the disks that it drives."""
