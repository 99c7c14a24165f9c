"""Disks: model, image, driver, and the services of both."""
