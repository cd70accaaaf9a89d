"""Back up and restore: everything that a mesh keeps, as one file that any kind of stores can be restored from.

A tool, not a service: `ragmesh backup` and `ragmesh restore` run it as a process of its own (`__main__`), because the
command line itself knows no store. It reads and writes through the services' own adapters, and keeps out of Redis:
documents that wait are in the record too, and the ingestor queues them again from there.
"""
