"""Commands about who may use a machine: `certs`, `tokens`, `login` and `logout`."""
