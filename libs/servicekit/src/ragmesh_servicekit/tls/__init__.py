"""TLS between the services, and of the public ports: from files, renewed without a restart."""
