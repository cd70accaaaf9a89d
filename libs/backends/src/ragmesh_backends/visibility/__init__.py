"""Which versions readers drop from their hits: those being written and those being swept."""
