"""What the domain needs, made of the kit."""
