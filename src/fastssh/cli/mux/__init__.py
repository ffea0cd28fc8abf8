"""Sharing the connection of another program: the client's side of OpenSSH's PROTOCOL.mux."""
