"""Every SSH message that Python handles: one description drives encode, decode, name and log form.

Numbers 30-49 and 60-79 mean different things by method (RFC 4250 section 4.1.2), so the registry key is
(namespace, number). Names are the RFCs'. CHANNEL_WINDOW_ADJUST, CHANNEL_DATA and CHANNEL_EXTENDED_DATA have their
number here only: the native plane reads and writes them.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Annotated, ClassVar, Final, Self, TypeVar

from fastssh.errors import ProtocolError
from fastssh.wire.fields import (
    BOOLEAN,
    NAME,
    STRING,
    TEXT,
    UTF8,
    Boolean,
    Language,
    Mpint,
    Name,
    NameList,
    Rest,
    String,
    Structure,
    Text,
    Uint32,
    Utf8,
    counted,
    fixed,
    pair,
)

# Where ranges of RFC 4251 section 7 begin: authentication, connection, and what is reserved behind them.
FIRST_AUTH: Final = 50
FIRST_CONNECTION: Final = 80
FIRST_RESERVED: Final = 128

CHANNEL_WINDOW_ADJUST: Final = 93
CHANNEL_DATA: Final = 94
CHANNEL_EXTENDED_DATA: Final = 95


class DisconnectReason(IntEnum):
    """RFC 4253 section 11.1."""

    HOST_NOT_ALLOWED_TO_CONNECT = 1
    PROTOCOL_ERROR = 2
    KEY_EXCHANGE_FAILED = 3
    RESERVED = 4
    MAC_ERROR = 5
    COMPRESSION_ERROR = 6
    SERVICE_NOT_AVAILABLE = 7
    PROTOCOL_VERSION_NOT_SUPPORTED = 8
    HOST_KEY_NOT_VERIFIABLE = 9
    CONNECTION_LOST = 10
    BY_APPLICATION = 11
    TOO_MANY_CONNECTIONS = 12
    AUTH_CANCELLED_BY_USER = 13
    NO_MORE_AUTH_METHODS_AVAILABLE = 14
    ILLEGAL_USER_NAME = 15


class OpenFailureReason(IntEnum):
    """RFC 4254 section 5.1."""

    ADMINISTRATIVELY_PROHIBITED = 1
    CONNECT_FAILED = 2
    UNKNOWN_CHANNEL_TYPE = 3
    RESOURCE_SHORTAGE = 4


class Message(Structure):
    """Base of all messages. ``number`` and ``namespace`` are the registry key, ``title`` the name in its RFC."""

    number: ClassVar[int]
    namespace: ClassVar[str]
    title: ClassVar[str]

    def encode(self) -> bytes:
        """The payload: the message number and the fields."""
        return bytes((self.number,)) + self.body()

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """This message from a payload; ProtocolError for another number or malformed fields."""
        if not payload or payload[0] != cls.number:
            raise ProtocolError(f"{cls.title} wanted, message {payload[0] if payload else 'without number'} received")
        return cls.parse(payload, 1)

    @classmethod
    def label(cls) -> str:
        return cls.title


M = TypeVar("M", bound=Message)
REGISTRY: dict[tuple[str, int], type[Message]] = {}


def decode(namespace: str, payload: bytes) -> Message:
    """The message in ``payload``, looked up in ``namespace`` and then in the part of it before its hyphen:
    ``decode("auth-password", p)`` knows UserauthPasswdChangereq and all of "auth".

    Raises ProtocolError for an empty payload, an unknown number, or malformed fields.
    """
    if not payload:
        raise ProtocolError("empty message")
    number = payload[0]
    cls = REGISTRY.get((namespace, number)) or REGISTRY.get((namespace.partition("-")[0], number))
    if cls is None:
        raise ProtocolError(f"unknown message {number}")
    return cls.parse(payload, 1)


def message(namespace: str, number: int, title: str) -> Callable[[type[M]], type[M]]:
    """Describes a message class and puts it into the registry."""

    def describe(cls: type[M]) -> type[M]:
        cls.namespace, cls.number, cls.title = namespace, number, title
        if REGISTRY.setdefault((namespace, number), cls) is not cls:
            raise TypeError(f"two messages {number} in {namespace}")
        return cls

    return describe


# --- transport: RFC 4253, RFC 8308, OpenSSH PROTOCOL (ping) ---------------------------------------------------------


@message("transport", 1, "SSH_MSG_DISCONNECT")
class Disconnect(Message):
    reason: Uint32
    description: Text
    language: Language = ""


@message("transport", 2, "SSH_MSG_IGNORE")
class Ignore(Message):
    data: String


@message("transport", 3, "SSH_MSG_UNIMPLEMENTED")
class Unimplemented(Message):
    sequence: Uint32


@message("transport", 4, "SSH_MSG_DEBUG")
class Debug(Message):
    always_display: Boolean
    text: Text
    language: Language = ""


@message("transport", 5, "SSH_MSG_SERVICE_REQUEST")
class ServiceRequest(Message):
    service: Name


@message("transport", 6, "SSH_MSG_SERVICE_ACCEPT")
class ServiceAccept(Message):
    service: Name


@message("transport", 7, "SSH_MSG_EXT_INFO")
class ExtInfo(Message):
    extensions: Annotated[tuple[tuple[str, bytes], ...], counted(pair(NAME, STRING))]


@message("transport", 20, "SSH_MSG_KEXINIT")
class KexInit(Message):
    cookie: Annotated[bytes, fixed(16)]
    kex_algorithms: NameList
    server_host_key_algorithms: NameList
    encryption_algorithms_client_to_server: NameList
    encryption_algorithms_server_to_client: NameList
    mac_algorithms_client_to_server: NameList
    mac_algorithms_server_to_client: NameList
    compression_algorithms_client_to_server: NameList
    compression_algorithms_server_to_client: NameList
    languages_client_to_server: NameList = ()
    languages_server_to_client: NameList = ()
    first_kex_packet_follows: Boolean = False
    reserved: Uint32 = 0


@message("transport", 21, "SSH_MSG_NEWKEYS")
class NewKeys(Message):
    pass


@message("transport", 192, "SSH2_MSG_PING")
class Ping(Message):
    data: String


@message("transport", 193, "SSH2_MSG_PONG")
class Pong(Message):
    data: String


# --- key exchange: RFC 4253 section 8, RFC 4419, RFC 5656 (RFC 8731 and ML-KEM hybrids use the same two) -------------


@message("kex-dh", 30, "SSH_MSG_KEXDH_INIT")
class KexdhInit(Message):
    e: Mpint


@message("kex-dh", 31, "SSH_MSG_KEXDH_REPLY")
class KexdhReply(Message):
    host_key: String
    f: Mpint
    signature: String


@message("kex-gex", 34, "SSH_MSG_KEX_DH_GEX_REQUEST")
class KexDhGexRequest(Message):
    minimum: Uint32
    preferred: Uint32
    maximum: Uint32


@message("kex-gex", 31, "SSH_MSG_KEX_DH_GEX_GROUP")
class KexDhGexGroup(Message):
    p: Mpint
    g: Mpint


@message("kex-gex", 32, "SSH_MSG_KEX_DH_GEX_INIT")
class KexDhGexInit(Message):
    e: Mpint


@message("kex-gex", 33, "SSH_MSG_KEX_DH_GEX_REPLY")
class KexDhGexReply(Message):
    host_key: String
    f: Mpint
    signature: String


@message("kex-ecdh", 30, "SSH_MSG_KEX_ECDH_INIT")
class KexEcdhInit(Message):
    q_c: String


@message("kex-ecdh", 31, "SSH_MSG_KEX_ECDH_REPLY")
class KexEcdhReply(Message):
    host_key: String
    q_s: String
    signature: String


# --- authentication: RFC 4252, RFC 4256 ------------------------------------------------------------------------------


@message("auth", 50, "SSH_MSG_USERAUTH_REQUEST")
class UserauthRequest(Message):
    user: Utf8
    service: Name
    method: Name
    method_data: Rest = b""


@message("auth", 51, "SSH_MSG_USERAUTH_FAILURE")
class UserauthFailure(Message):
    can_continue: NameList
    partial_success: Boolean = False


@message("auth", 52, "SSH_MSG_USERAUTH_SUCCESS")
class UserauthSuccess(Message):
    pass


@message("auth", 53, "SSH_MSG_USERAUTH_BANNER")
class UserauthBanner(Message):
    text: Text
    language: Language = ""


@message("auth-publickey", 60, "SSH_MSG_USERAUTH_PK_OK")
class UserauthPkOk(Message):
    algorithm: Name
    blob: String


@message("auth-password", 60, "SSH_MSG_USERAUTH_PASSWD_CHANGEREQ")
class UserauthPasswdChangereq(Message):
    prompt: Text
    language: Language = ""


@message("auth-kbdint", 60, "SSH_MSG_USERAUTH_INFO_REQUEST")
class UserauthInfoRequest(Message):
    name: Text
    instruction: Text
    language: Text
    prompts: Annotated[tuple[tuple[str, bool], ...], counted(pair(TEXT, BOOLEAN))]  # (prompt, echo)


@message("auth-kbdint", 61, "SSH_MSG_USERAUTH_INFO_RESPONSE")
class UserauthInfoResponse(Message):
    responses: Annotated[tuple[str, ...], counted(UTF8, secret=True)]


# --- connection: RFC 4254 --------------------------------------------------------------------------------------------


@message("connection", 80, "SSH_MSG_GLOBAL_REQUEST")
class GlobalRequest(Message):
    name: Name
    want_reply: Boolean
    data: Rest = b""


@message("connection", 81, "SSH_MSG_REQUEST_SUCCESS")
class RequestSuccess(Message):
    data: Rest = b""


@message("connection", 82, "SSH_MSG_REQUEST_FAILURE")
class RequestFailure(Message):
    pass


@message("connection", 90, "SSH_MSG_CHANNEL_OPEN")
class ChannelOpen(Message):
    kind: Name
    sender: Uint32
    window: Uint32
    max_packet: Uint32
    data: Rest = b""


@message("connection", 91, "SSH_MSG_CHANNEL_OPEN_CONFIRMATION")
class ChannelOpenConfirmation(Message):
    recipient: Uint32
    sender: Uint32
    window: Uint32
    max_packet: Uint32
    data: Rest = b""


@message("connection", 92, "SSH_MSG_CHANNEL_OPEN_FAILURE")
class ChannelOpenFailure(Message):
    recipient: Uint32
    reason: Uint32
    description: Text
    language: Language = ""


@message("connection", 96, "SSH_MSG_CHANNEL_EOF")
class ChannelEof(Message):
    recipient: Uint32


@message("connection", 97, "SSH_MSG_CHANNEL_CLOSE")
class ChannelClose(Message):
    recipient: Uint32


@message("connection", 98, "SSH_MSG_CHANNEL_REQUEST")
class ChannelRequest(Message):
    recipient: Uint32
    name: Name
    want_reply: Boolean
    data: Rest = b""


@message("connection", 99, "SSH_MSG_CHANNEL_SUCCESS")
class ChannelSuccess(Message):
    recipient: Uint32


@message("connection", 100, "SSH_MSG_CHANNEL_FAILURE")
class ChannelFailure(Message):
    recipient: Uint32
