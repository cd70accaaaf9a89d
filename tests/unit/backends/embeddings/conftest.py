from __future__ import annotations

from support.embedding_model import embedding_cache

__all__ = ["embedding_cache"]
