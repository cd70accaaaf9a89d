"""The tables of the graph.

graph_tokens finds the chunks in which a new name occurs. It is an FTS5 table without content: the tokens stand in
graph_chunks. Its `ascii` tokenizer separates at ASCII characters other than letters and digits and keeps all else,
so that a token, which is alphanumeric throughout, is always one term (unicode61 knows Unicode 6.1 only, and
would split newer letters). Every term starts with the key of its index (`17xnew`): one index never reads through
the postings of another.
"""

from __future__ import annotations

from ragmesh_backends.sqlite.schema import Schema

GRAPH_SCHEMA = Schema(
    "graph",
    (
        (
            """
            CREATE TABLE graph_indexes (
                index_key INTEGER PRIMARY KEY AUTOINCREMENT,
                tenant TEXT NOT NULL,
                name TEXT NOT NULL,
                UNIQUE (tenant, name)
            )
            """,
            """
            CREATE TABLE graph_chunks (
                chunk_key INTEGER PRIMARY KEY AUTOINCREMENT,
                index_key INTEGER NOT NULL REFERENCES graph_indexes (index_key),
                chunk_id TEXT NOT NULL,
                document_id TEXT NOT NULL,
                version INTEGER NOT NULL,
                ordinal INTEGER NOT NULL,
                out_degree INTEGER NOT NULL DEFAULT 0,
                about TEXT NOT NULL,
                tokens TEXT NOT NULL,
                UNIQUE (index_key, chunk_id)
            )
            """,
            "CREATE INDEX graph_chunks_of_version ON graph_chunks (index_key, document_id, version)",
            """
            CREATE TABLE graph_entities (
                entity_key INTEGER PRIMARY KEY AUTOINCREMENT,
                index_key INTEGER NOT NULL REFERENCES graph_indexes (index_key),
                name TEXT NOT NULL,
                head TEXT NOT NULL,
                occurrences INTEGER NOT NULL DEFAULT 0,
                in_degree INTEGER NOT NULL DEFAULT 0,
                UNIQUE (index_key, name)
            )
            """,
            "CREATE INDEX graph_entities_by_head ON graph_entities (index_key, head)",
            # Holds all that a link says of its target, in the order in which targets are wanted.
            """
            CREATE TABLE graph_about (
                entity_key INTEGER NOT NULL REFERENCES graph_entities (entity_key),
                ordinal INTEGER NOT NULL,
                chunk_id TEXT NOT NULL,
                document_id TEXT NOT NULL,
                version INTEGER NOT NULL,
                chunk_key INTEGER NOT NULL REFERENCES graph_chunks (chunk_key),
                PRIMARY KEY (entity_key, ordinal, chunk_id)
            ) WITHOUT ROWID
            """,
            "CREATE INDEX graph_about_of_chunk ON graph_about (chunk_key)",
            """
            CREATE TABLE graph_mentions (
                chunk_key INTEGER NOT NULL REFERENCES graph_chunks (chunk_key),
                entity_key INTEGER NOT NULL REFERENCES graph_entities (entity_key),
                PRIMARY KEY (chunk_key, entity_key)
            ) WITHOUT ROWID
            """,
            "CREATE INDEX graph_mentions_of_entity ON graph_mentions (entity_key, chunk_key)",
            """
            CREATE TRIGGER graph_mention_inserted AFTER INSERT ON graph_mentions BEGIN
                UPDATE graph_chunks SET out_degree = out_degree + 1 WHERE chunk_key = NEW.chunk_key;
                UPDATE graph_entities SET in_degree = in_degree + 1 WHERE entity_key = NEW.entity_key;
            END
            """,
            """
            CREATE TRIGGER graph_mention_deleted AFTER DELETE ON graph_mentions BEGIN
                UPDATE graph_chunks SET out_degree = out_degree - 1 WHERE chunk_key = OLD.chunk_key;
                UPDATE graph_entities SET in_degree = in_degree - 1 WHERE entity_key = OLD.entity_key;
            END
            """,
            "CREATE VIRTUAL TABLE graph_tokens USING fts5"
            " (tokens, content = '', columnsize = 0, detail = full, tokenize = 'ascii')",
        ),
    ),
)
