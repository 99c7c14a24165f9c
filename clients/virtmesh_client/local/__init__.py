"""Machines that `virtmesh up` started on this host: where they are, and how to stop them."""
