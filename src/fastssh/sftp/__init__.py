"""SFTP version 3 (draft-ietf-secsh-filexfer-02) and OpenSSH's extensions, without I/O on the network."""
