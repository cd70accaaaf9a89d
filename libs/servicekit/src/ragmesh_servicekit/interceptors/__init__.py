"""What surrounds every call, written once for all four kinds of call."""
