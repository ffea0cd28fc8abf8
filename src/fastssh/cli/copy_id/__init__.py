"""fastssh-copy-id."""
