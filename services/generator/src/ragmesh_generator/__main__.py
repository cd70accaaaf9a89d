"""`python -m ragmesh_generator`."""

from ragmesh_generator.app import main
from ragmesh_servicekit.process import run

run(main)
