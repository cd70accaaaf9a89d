"""How the embedded stores are started: pure functions that say what to run; the supervisor runs it."""
