"""What `ragmesh backup` and `ragmesh restore` share: which stores, and the process that works on them."""
