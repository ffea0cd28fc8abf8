"""Forwarding of TCP connections, Unix sockets and the agent, for both roles.

A :class:`~fastssh.aio.forwarding.relay.SocketRelay` joins a channel and a socket; ``server.py`` is what a server lets
its clients do, ``client.py`` what a client asks for.
"""
