"""`virtmesh top`."""
