"""How passages are found: ports, records and the use case. No gRPC, no driver, no environment."""
