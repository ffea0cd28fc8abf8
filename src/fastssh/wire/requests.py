"""The type-specific data of authentication, channel and global requests, described as messages are.

``ExecRequest(b"ls").body()`` gives ``ChannelRequest.data``; ``ExitStatus.parse(request.data)`` reads one.
"""

from fastssh.wire.fields import (
    Boolean,
    Language,
    Name,
    Secret,
    String,
    Structure,
    Text,
    Uint32,
    Utf8,
)

# --- UserauthRequest.method_data: RFC 4252 sections 7 and 8, RFC 4256 section 3.1, OpenSSH PROTOCOL ------------------


class Password(Structure):
    """``password``."""

    change: Boolean  # False; True is PasswordChange
    password: Secret


class PasswordChange(Structure):
    """``password`` in answer to SSH_MSG_USERAUTH_PASSWD_CHANGEREQ."""

    change: Boolean  # True
    password: Secret
    new_password: Secret


class PublickeyQuery(Structure):
    """``publickey`` without signature: would this key do?"""

    signed: Boolean  # False
    algorithm: Name
    blob: String


class Publickey(Structure):
    """``publickey`` with its signature."""

    signed: Boolean  # True
    algorithm: Name
    blob: String
    signature: String


class PublickeyHostboundQuery(Structure):
    """``publickey-hostbound-v00@openssh.com`` without signature."""

    signed: Boolean  # False
    algorithm: Name
    blob: String
    host_key: String


class PublickeyHostbound(Structure):
    """``publickey-hostbound-v00@openssh.com`` with its signature."""

    signed: Boolean  # True
    algorithm: Name
    blob: String
    host_key: String
    signature: String


class KeyboardInteractive(Structure):
    """``keyboard-interactive``."""

    language: Text = ""
    submethods: Utf8 = ""


# --- ChannelRequest.data: RFC 4254 sections 6.2 to 6.10, RFC 4335 -----------------------------------------------------


class PtyRequest(Structure):
    """``pty-req``. Sizes in characters, then in pixels; ``modes`` are for :mod:`fastssh.wire.terminal_modes`."""

    term: String
    columns: Uint32
    rows: Uint32
    width: Uint32
    height: Uint32
    modes: String


class WindowChange(Structure):
    """``window-change``."""

    columns: Uint32
    rows: Uint32
    width: Uint32
    height: Uint32


class EnvRequest(Structure):
    """``env``."""

    name: String
    value: String


class ExecRequest(Structure):
    """``exec``."""

    command: String


class SubsystemRequest(Structure):
    """``subsystem``."""

    name: Name


class SignalRequest(Structure):
    """``signal``; the name is without SIG."""

    signal: Name


class Break(Structure):
    """``break`` (RFC 4335 section 3)."""

    milliseconds: Uint32


class ExitStatus(Structure):
    """``exit-status``."""

    status: Uint32


class ExitSignal(Structure):
    """``exit-signal``; the name is without SIG."""

    signal: Name
    core_dumped: Boolean
    message: Text
    language: Language = ""


# --- ChannelOpen.data and GlobalRequest.data of forwarding ------------------------------------------------------------
# Hosts and paths are bytes: whoever acts on them decides what a name is. Ports are uint32 on the wire, and may be
# anything.


class DirectTcpip(Structure):
    """``direct-tcpip`` (RFC 4254 section 7.2): a connection that the peer is asked to make."""

    host: String
    port: Uint32
    originator: String
    originator_port: Uint32


class ForwardedTcpip(Structure):
    """``forwarded-tcpip`` (RFC 4254 section 7.2): one that came to a listener asked for; host and port are its own."""

    host: String
    port: Uint32
    originator: String
    originator_port: Uint32


class TcpipForward(Structure):
    """``tcpip-forward`` (RFC 4254 section 7.1): port 0 asks for any free one."""

    host: String
    port: Uint32


class TcpipForwardReply(Structure):
    """The answer to ``tcpip-forward`` with port 0 (RFC 4254 section 7.1); to others it is empty."""

    port: Uint32


class CancelTcpipForward(Structure):
    """``cancel-tcpip-forward`` (RFC 4254 section 7.1): the port is the one that is listened on."""

    host: String
    port: Uint32


class DirectStreamlocal(Structure):
    """``direct-streamlocal@openssh.com`` (OpenSSH PROTOCOL 2.4)."""

    path: String
    reserved: String = b""
    reserved_number: Uint32 = 0


class ForwardedStreamlocal(Structure):
    """``forwarded-streamlocal@openssh.com`` (OpenSSH PROTOCOL 2.4)."""

    path: String
    reserved: String = b""


class StreamlocalForward(Structure):
    """``streamlocal-forward@openssh.com`` (OpenSSH PROTOCOL 2.4)."""

    path: String


class CancelStreamlocalForward(Structure):
    """``cancel-streamlocal-forward@openssh.com`` (OpenSSH PROTOCOL 2.4)."""

    path: String


AUTH_AGENT = "auth-agent@openssh.com"  # the channel
AUTH_AGENT_REQUEST = "auth-agent-req@openssh.com"  # of a session: programs on the server may reach the agent


class AuthAgent(Structure):
    """What the channel and the request of a forwarded agent say: nothing."""
