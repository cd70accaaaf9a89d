"""Caches: bytes by key, which may vanish at any time. What is kept there can be made again."""
