"""A mesh on this machine: what it is made of, and who starts, watches and stops it."""
