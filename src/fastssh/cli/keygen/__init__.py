"""fastssh-keygen: makes keys and changes, shows and converts them; known_hosts, certificates, signatures."""
