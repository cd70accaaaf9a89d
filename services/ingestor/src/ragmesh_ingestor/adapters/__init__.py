"""What the ingestor alone needs from the outside: the sandboxed parser process."""
