"""`python -m ragmesh_retriever`."""

from ragmesh_retriever.app import main
from ragmesh_servicekit.process import run

run(main)
