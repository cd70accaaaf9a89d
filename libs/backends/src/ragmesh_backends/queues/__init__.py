"""The job queue: durable records, delivered to workers at least once."""
