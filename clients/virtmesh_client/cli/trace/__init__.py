"""`virtmesh trace`."""
