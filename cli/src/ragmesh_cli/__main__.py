"""`python -m ragmesh_cli` is `ragmesh`."""

from ragmesh_cli.main import main

main()
