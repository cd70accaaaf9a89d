"""The entity graph: chunks are about entities and mention others."""
