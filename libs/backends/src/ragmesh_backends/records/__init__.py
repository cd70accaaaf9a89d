"""The record of collections, documents, versions and chunks, and the gateway's keys."""
