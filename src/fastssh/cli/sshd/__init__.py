"""fastsshd."""
