"""One Neo4j server: connections, transactions and schema versions. What is stored in it is the adapters' affair."""
