"""The master of a shared connection: OpenSSH's PROTOCOL.mux over a control socket."""
