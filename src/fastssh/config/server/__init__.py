"""sshd_config: what its directives mean, and what they come to for one connection."""
