"""Becomes milvus-lite's server, on every address of the container. It speaks without TLS and without a login."""

from __future__ import annotations

import os

from ragmesh_cli.stores.milvus_lite import library_folder

library = library_folder()
environment = {
    **os.environ,
    "LD_LIBRARY_PATH": str(library),
    "GLOG_log_dir": "/data",
    "GLOG_minloglevel": "1",
    "GLOG_max_log_size": "16",
    "TMPDIR": "/data",
}
server = str(library / "milvus")
os.execve(server, [server, "/data/vectors.db", "0.0.0.0:19530", "ERROR"], environment)
