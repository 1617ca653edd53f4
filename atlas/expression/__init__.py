"""Expression from outside: readers, units, gene identity, and the log expression that a model reads."""
