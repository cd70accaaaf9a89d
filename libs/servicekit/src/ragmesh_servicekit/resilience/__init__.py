"""What stands between a process and what it depends on: bounds, breakers, retries."""
