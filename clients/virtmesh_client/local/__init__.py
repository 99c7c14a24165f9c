"""Machines that `virtmesh up` started on this host: find them and stop them."""
