"""The gRPC server that every service is: addresses, errors, health, counting."""
