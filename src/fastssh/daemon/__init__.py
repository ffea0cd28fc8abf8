"""fastsshd: the parent that listens, the process that serves one connection, and who may log in."""
