"""A vhost-user front end for tests, and disks for it."""
