"""Originals, parsed texts and manifests: bytes under a key."""
