"""fastssh-keyscan."""
