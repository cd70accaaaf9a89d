"""Which versions readers must not see."""
