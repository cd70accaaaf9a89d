"""`python -m ragmesh_ingestor`: the service; with `migrate`: the layouts of its stores."""

import sys

from ragmesh_ingestor.app import main
from ragmesh_servicekit.process import run

if sys.argv[1:] == ["migrate"]:
    from ragmesh_ingestor import migrate

    sys.exit(migrate.main())
if sys.argv[1:]:
    sys.stderr.write(f"ragmesh_ingestor: {' '.join(sys.argv[1:])} is no command; `migrate` is the only one\n")
    sys.exit(2)
run(main)
