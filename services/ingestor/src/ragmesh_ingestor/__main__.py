"""`python -m ragmesh_ingestor`."""

from ragmesh_ingestor.app import main
from ragmesh_servicekit.process import run

run(main)
