"""What a service tells of itself: metrics, logs, flight recorders."""
