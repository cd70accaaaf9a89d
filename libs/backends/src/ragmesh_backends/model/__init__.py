"""Plain records that adapters and domains share: standard library only (numpy for vectors), no SDK."""
