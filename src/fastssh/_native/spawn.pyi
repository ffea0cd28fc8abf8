"""Starting programs as a login does: a session of their own, a controlling terminal, nothing of ours left in them."""

def spawn(
    path: bytes,
    arguments: list[bytes],
    variables: list[bytes],
    directory: bytes,
    streams: tuple[int, int, int],
    controlling: bool,
    files: int,
) -> int:
    """The process id, which the caller has to wait for. ``variables`` are NAME=value; ``streams`` become its
    descriptors 0, 1 and 2, the first being its controlling terminal if ``controlling``; ``files`` is its soft
    RLIMIT_NOFILE, 0 for this process's own.

    Raises OSError when it could not be started, ValueError for a NUL in any text.
    """
