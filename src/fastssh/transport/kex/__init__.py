"""Key exchange methods. Each is a pair of generators, one a role, that read as their RFC does."""
