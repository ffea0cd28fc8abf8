"""fastsshd: the parent that listens, the process that serves one connection, and in ``login`` who may log in."""
