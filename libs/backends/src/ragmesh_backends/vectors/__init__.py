"""The vector store: dense and BM25 search over the chunks of one index."""

from ragmesh_backends.vectors.milvus import MilvusVectors

__all__ = ["MilvusVectors"]
