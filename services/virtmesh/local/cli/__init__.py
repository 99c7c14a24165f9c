"""The commands of `virtmesh` that need the services on this host."""
