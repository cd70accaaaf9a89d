"""The use cases of ingestion and the records and ports they need: no grpc, no driver, no generated code."""
