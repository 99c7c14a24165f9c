"""A machine as processes of this host: planned, started, supervised."""
