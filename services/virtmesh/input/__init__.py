"""Input devices: model, delivery, injection, driver."""
