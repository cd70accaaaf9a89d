"""`python -m ragmesh_gateway`."""

from ragmesh_gateway.app import main
from ragmesh_servicekit.process import run

run(main)
