"""What the adapter costs to import."""

from __future__ import annotations

import subprocess
import sys


def test_the_adapter_imports_no_pandas_and_leaves_pymilvus_importable() -> None:
    code = (
        "import sys, ragmesh_backends.vectors\n"
        "assert not {'pandas', 'requests', 'pymilvus'} & set(sys.modules)\n"
        "import importlib.util\n"
        "assert importlib.util.find_spec('pymilvus').origin.endswith('__init__.py')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
