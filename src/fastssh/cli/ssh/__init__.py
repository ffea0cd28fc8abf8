"""fastssh: ssh(1)'s command line."""
