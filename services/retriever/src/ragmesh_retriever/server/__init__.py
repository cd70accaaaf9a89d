"""proto <-> domain."""
