"""`virtmesh guest`."""
