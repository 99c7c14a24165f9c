"""`virtmesh screen`."""
