"""fastssh-scp."""
