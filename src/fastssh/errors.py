"""The one hierarchy of exceptions. Everything fastssh raises on purpose is an :class:`SSHError`.

What the peer did wrong is a :class:`RemoteError`; what the user asked for and cannot have is one of the others.
``str(error)`` is always one line, fit for a terminal.
"""

from __future__ import annotations

import errno as _errno

LONGEST = 2000  # characters of an error's line: a peer's text may be a quarter of a megabyte


def _brief(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else f"{text[:longest]}..."


class SSHError(Exception):
    """Base of all fastssh errors."""

    def __str__(self) -> str:
        return _brief(super().__str__())


# --- the connection -----------------------------------------------------------------------------------------------


class RemoteError(SSHError):
    """The peer did something wrong, or said that it could not go on."""


class ProtocolError(RemoteError):
    """The peer broke the protocol; the connection is over.

    ``reason`` is the SSH_DISCONNECT code to send (RFC 4253 section 11.1).
    """

    def __init__(self, message: str, reason: int = 2) -> None:
        super().__init__(message)
        self.reason = reason


class IntegrityError(ProtocolError):
    """A packet's tag or MAC did not verify."""

    def __init__(self, message: str = "message authentication code incorrect") -> None:
        super().__init__(message, reason=5)


class DisconnectedError(RemoteError):
    """The peer sent SSH_MSG_DISCONNECT."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"peer disconnected: {description or 'no reason given'} (code {code})")
        self.code = code
        self.description = description


class ConnectionLostError(SSHError, ConnectionError):
    """The connection ended without SSH_MSG_DISCONNECT, or never came to be."""


class SSHTimeoutError(SSHError, TimeoutError):
    """A deadline passed."""


def _listed(names: tuple[str, ...]) -> str:
    """An offer in words; both have to fit into one line."""
    return _brief(",".join(names) or "nothing", LONGEST // 2 - 100)


class NegotiationError(ProtocolError):
    """No common algorithm. ``kind`` is e.g. ``"cipher client to server"``; both offers are kept."""

    def __init__(self, kind: str, ours: tuple[str, ...], theirs: tuple[str, ...]) -> None:
        super().__init__(
            f"no common {kind}: we offer {_listed(ours)}; peer offers {_listed(theirs)}",
            reason=3,
        )
        self.kind, self.ours, self.theirs = kind, ours, theirs


# --- host keys ----------------------------------------------------------------------------------------------------


class HostKeyError(SSHError):
    """The server's host key was not accepted."""


class HostKeyUnknownError(HostKeyError):
    """No known_hosts file knows the host, and policy or user did not accept it."""


class HostKeyChangedError(HostKeyError):
    """A known_hosts file has another key for the host."""


class HostKeyRevokedError(HostKeyError):
    """The key is marked @revoked."""


# --- keys, agent and authentication -------------------------------------------------------------------------------


class KeyFormatError(SSHError, ValueError):
    """A key, signature, certificate or known_hosts text that cannot be understood."""


class PassphraseError(SSHError):
    """A private key needs a passphrase, or the one given is wrong."""


class SignatureError(SSHError):
    """A signature did not verify."""


class AgentError(SSHError):
    """The agent refused, broke its protocol, or cannot be reached."""


class AuthenticationError(SSHError):
    """No method was left that the server would accept.

    ``tried`` are the methods tried, ``offered`` those the server said can continue.
    """

    def __init__(self, message: str, tried: tuple[str, ...] = (), offered: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.tried, self.offered = tried, offered


# --- channels -----------------------------------------------------------------------------------------------------


class ChannelOpenError(RemoteError):
    """The peer refused a channel (RFC 4254 section 5.1)."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"channel refused: {description or 'no reason given'} (code {code})")
        self.code, self.description = code, description

    def told(self, channel: int) -> str:
        """As ssh tells of it."""
        reason = _OPEN_FAILURES.get(self.code, "unknown reason")
        return f"channel {channel}: open failed: {reason}{': ' * bool(self.description)}{self.description}"


_OPEN_FAILURES = {
    1: "administratively prohibited", 2: "connect failed", 3: "unknown channel type", 4: "resource shortage",
}


class ChannelRequestError(RemoteError):
    """The peer answered a channel or global request with failure."""


class ChannelClosedError(SSHError):
    """The channel or its connection is closed."""


class MultiplexError(SSHError):
    """The master of a shared connection refused, or is none."""


class ProcessError(SSHError):
    """A remote command that was asked to succeed (``check=True``) did not.

    ``exit_status`` is None when it ended by ``exit_signal`` (a name without SIG), or when the server did not say how.
    ``stdout`` and ``stderr`` are what it wrote.
    """

    def __init__(
        self, command: str, exit_status: int | None, exit_signal: str | None, stdout: bytes = b"", stderr: bytes = b""
    ) -> None:
        if exit_signal is not None:
            how = f"ended by signal {exit_signal}"
        elif exit_status is not None:
            how = f"returned exit status {exit_status}"
        else:
            how = "ended without an exit status"
        super().__init__(f"remote command {command!a} {how}")
        self.command, self.exit_status, self.exit_signal = command, exit_status, exit_signal
        self.stdout, self.stderr = stdout, stderr


# --- configuration ------------------------------------------------------------------------------------------------


class ConfigError(SSHError, ValueError):
    """A configuration file or option that cannot be understood; names file and line."""


# --- transfers and SFTP -------------------------------------------------------------------------------------------


class TransferError(SSHError):
    """A copy that did not complete; the message names the file."""


class SFTPError(RemoteError, OSError):
    """The SFTP server answered with a status other than OK (draft-ietf-secsh-filexfer-02 section 7).

    ``code`` is the SSH_FX status. ``errno``, ``strerror`` and ``filename`` are set as for an OSError.
    """

    status: int = 4
    errno_value: int = _errno.EIO

    def __init__(self, message: str, *, code: int | None = None, filename: str | None = None) -> None:
        OSError.__init__(self, self.errno_value, _brief(message))
        if filename is not None:
            self.filename = filename
        self.code = self.status if code is None else code

    def __str__(self) -> str:
        if self.filename is None:
            return str(self.strerror)
        # A name may come from the server: its control characters must not reach a terminal as they are.
        name = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in str(self.filename))
        return _brief(f"{name}: {self.strerror}")


class SFTPEOFError(SFTPError, EOFError):
    status = 1


class SFTPFileNotFoundError(SFTPError, FileNotFoundError):
    status = 2
    errno_value = _errno.ENOENT


class SFTPPermissionError(SFTPError, PermissionError):
    status = 3
    errno_value = _errno.EACCES


class SFTPBadMessageError(SFTPError):
    status = 5
    errno_value = _errno.EBADMSG


class SFTPNoConnectionError(SFTPError):
    status = 6
    errno_value = _errno.ENOTCONN


class SFTPConnectionLostError(SFTPError):
    status = 7
    errno_value = _errno.ECONNRESET


class SFTPUnsupportedError(SFTPError):
    status = 8
    errno_value = _errno.EOPNOTSUPP


SFTP_STATUS: dict[int, type[SFTPError]] = {
    cls.status: cls
    for cls in (
        SFTPEOFError, SFTPFileNotFoundError, SFTPPermissionError, SFTPError, SFTPBadMessageError,
        SFTPNoConnectionError, SFTPConnectionLostError, SFTPUnsupportedError,
    )
}


def sftp_error(code: int, message: str, filename: str | None = None) -> SFTPError:
    """The exception for an SFTP status ``code``; codes past version 3 become a plain :class:`SFTPError`."""
    return SFTP_STATUS.get(code, SFTPError)(message, code=code, filename=filename)
