"""Gives what a service measures to whoever asks: the page of Prometheus, and MetricsService."""
