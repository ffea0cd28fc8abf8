"""fastssh-sftp."""
