"""`ragmesh eval`: how well the running mesh finds what a judged set says it should."""
