"""Dashboards: as data, generated from the metrics of a kind, and rendered for Grafana."""
