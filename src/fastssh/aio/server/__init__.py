"""The server: one connection of a client (``connection.py``), many in one event loop (``serve.py``), and what runs on
its session channels (``session.py`` and the programs it starts).
"""
