"""The native data plane of one connection: sealing, opening, channels' data and windows, bulk endpoints.

Two ways to move bytes: ``step(fd)`` does the socket I/O itself with the GIL released; ``feed``/``take`` do the same
work in memory. Everything that is not bulk becomes an event for Python, in wire order.
"""

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

# events(): tuples, told apart by their first item
EVENT_MESSAGE: Final = 0  # (0, sequence, payload)      any message that C does not consume, payload[0] is its number
EVENT_DATA: Final = 1  # (1, channel, stream, data)     stream 0 = CHANNEL_DATA, 1 = EXTENDED_DATA stderr
EVENT_SFTP: Final = 2  # (2, channel, message)          a whole SFTP message without its length, for Python
EVENT_TRANSFER: Final = 3  # (3, channel, transfer)     a bulk transfer ended: see transfer_result
EVENT_WRITABLE: Final = 4  # (4, channel)               the channel's queue fell below the low-water mark (64 KiB)
EVENT_SFTP_END: Final = 5  # (5, channel)               served: all that came before the client's EOF is worked off
EVENT_RELAY: Final = 6  # (6, channel, end, errno)      relayed: this end is done with, by itself (0) or by an error
EVENT_RELAY_WAITS: Final = 7  # (7, channel, ends)      of relay_waits(): what is to be watched now
EVENT_RAW: Final = 8  # (8, channel, payload)           of a raw channel: data, or more window

Event: TypeAlias = (
    tuple[Literal[0], int, bytes]
    | tuple[Literal[1], int, int, bytes]
    | tuple[Literal[2], int, bytes]
    | tuple[Literal[3], int, int]
    | tuple[Literal[4], int]
    | tuple[Literal[5], int]
    | tuple[Literal[6], int, int, int]
    | tuple[Literal[7], int, int]
    | tuple[Literal[8], int, bytes]
)

# the ends of a relay: bits
RELAY_SOURCE: Final = 1  # read; sent as CHANNEL_DATA
RELAY_SOURCE_STDERR: Final = 2  # read; sent as EXTENDED_DATA
RELAY_SINK: Final = 4  # written with CHANNEL_DATA
RELAY_SINK_STDERR: Final = 8  # written with EXTENDED_DATA

# step(): flags
STEP_EVENTS: Final = 1  # events() has something
STEP_WANT_WRITE: Final = 2  # the socket is full: call again when writable
STEP_EOF: Final = 4  # the peer closed its side; set on every later step too
STEP_MORE: Final = 8  # the budget of one call ran out: call again soon with readable=True
STEP_BLOCKED: Final = 16  # nothing more can be received before events() are read or keys set: stop polling for reading

MAX_LINGERING: Final = 64  # planes in one call of linger()

class TransferResult:
    """How a bulk transfer ended. Success is ``status == 0``."""

    kind: str  # "get" or "put"
    bytes: int  # acknowledged by the server (put) or written to the file (get), contiguous or not
    contiguous: int  # of these, how many are surely there from the offset on without a gap
    status: int  # 0; or an SSH_FX code > 0 from the server; or a negative fs_status (see error)
    errno: int  # of the local file operation when status is FS_E_SYSTEM
    message: str  # the server's words or the system's, for status != 0
    end_of_file: int  # get: smallest offset at which the server said EOF, or -1; put: bytes read from the file
    cancelled: bool

class Plane:
    def __init__(self, *, receive_capacity: int = ..., send_capacity: int = ...) -> None: ...

    def set_unpadded(self) -> None:
        """Packets have neither protection nor padding, in both directions (OpenSSH's PROTOCOL.mux section 9). Before
        anything is sent or received; else ValueError."""
    # -- keys ----------------------------------------------------------------------------------------------------
    def set_send_keys(
        self, cipher: str, mac: str, key: bytes, iv: bytes, mac_key: bytes, *, reset_sequence: bool
    ) -> None:
        """New keys for what we send; call right after send(NEWKEYS). Bulk and channel data flow again after it."""
    def set_receive_keys(
        self, cipher: str, mac: str, key: bytes, iv: bytes, mac_key: bytes, *, reset_sequence: bool
    ) -> None:
        """New keys for what we receive; call when the peer's NEWKEYS arrives as an event. Nothing after NEWKEYS is
        opened until then."""
    def set_send_compression(self, method: str) -> None: ...  # "none", "zlib@openssh.com"; from the next packet on
    def set_receive_compression(self, method: str) -> None: ...
    @property
    def send_sequence(self) -> int: ...  # of the next packet
    @property
    def receive_sequence(self) -> int: ...
    @property
    def rekey_due(self) -> bool: ...  # either direction passed its byte or packet threshold
    def set_rekey_bytes(self, limit: int) -> None: ...  # 0: the cipher's default
    @property
    def sending_kex(self) -> bool: ...  # our KEXINIT is out, our NEWKEYS keys are not yet set
    @property
    def bytes_sent(self) -> int: ...  # on the wire, all epochs
    @property
    def bytes_received(self) -> int: ...

    # -- messages ------------------------------------------------------------------------------------------------
    def send(self, payload: bytes) -> None:
        """Seals one message. While sending_kex only transport and KEX messages are accepted (RFC 4253 section 7.1):
        anything else raises ValueError, the caller keeps it. DISCONNECT is the last that goes out: the plane then
        touches neither channels nor the descriptors of transfers any more."""
    def events(self) -> list[Event]: ...

    # -- moving bytes ----------------------------------------------------------------------------------------------
    def step(self, fd: int, readable: bool) -> int:
        """One bounded turn: recv (if readable), open, dispatch, fill, seal, send, without the GIL. Returns STEP_ flags.
        Raises ProtocolError, IntegrityError or OSError; events that came before the fault are still in events(). After
        an OSError of sending feed() still takes what the peer said before it closed.
        """
    def set_sink(self, fd: int) -> None:
        """What is sent goes to ``fd``, a pipe perhaps, and the descriptor of :meth:`step` is read alone."""

    def feed(self, data: bytes) -> int:
        """Takes received bytes in memory; returns how many were taken (fewer when events() must be read, or keys set,
        first). Opens and dispatches as step does; also with b'' to go on."""
    def take(self) -> bytes:
        """Fills from channels and transfers, and returns all sealed bytes waiting to be sent."""
    @property
    def unsent(self) -> int: ...  # sealed bytes not yet sent

    # -- channels ------------------------------------------------------------------------------------------------
    # Local channel ids are the caller's: small, reused only after channel_remove.
    def channel_add(self, channel: int, window: int, max_packet: int) -> None:
        """Before sending CHANNEL_OPEN, or before sending the confirmation of the peer's: our side's window.
        C completes it when it sees the peer's OPEN_CONFIRMATION (which is an event as well)."""
    def channel_confirm(self, channel: int, remote: int, window: int, max_packet: int) -> None:
        """For a channel that the peer opened: its side, right after send(OPEN_CONFIRMATION)."""
    def channel_write(self, channel: int, data: bytes, stream: int = 0) -> int:
        """Queues data; returns the bytes now waiting. Wait for EVENT_WRITABLE above 256 KiB. Raises ValueError
        after channel_eof or channel_close and before the channel is open; after the peer's close, whose CLOSE is then
        among the events, the data is dropped."""
    def channel_pending(self, channel: int) -> int: ...
    def channel_eof(self, channel: int) -> None: ...  # CHANNEL_EOF once the queue is empty and all transfers have ended
    def channel_discard(self, channel: int) -> None:
        """Drops what is queued, so that EOF and CLOSE need not wait for the peer's window."""
    def channel_close(self, channel: int) -> None:
        """CHANNEL_CLOSE once the queue is empty (EOF not implied). Transfers end at once: replies are dropped."""
    def channel_consumed(self, channel: int, count: int) -> None:
        """EVENT_DATA bytes that Python is done with: window credit for the peer. SFTP channels credit themselves, but
        for stderr."""
    def channel_widen(self, channel: int, window: int) -> None:
        """The peer may from now on have up to ``window`` bytes under way, if that is more than before."""
    def channel_raw(self, channel: int) -> None:
        """From now on data and windows of this channel are EVENT_RAW, and nothing is counted; what is sent on it goes
        by send()."""
    def channel_remove(self, channel: int) -> None:
        """After CLOSE went both ways (or open failed)."""

    # -- SFTP bulk endpoints ---------------------------------------------------------------------------------------
    # Request ids with the top bit set are C's, the others Python's. Send Python's own requests with channel_write,
    # whole messages with their length; the plane never cuts into one.

    def sftp_attach(self, channel: int) -> None:
        """From now on what arrives on this channel is SFTP messages (first VERSION, as an event), and stderr as it
        was."""
    def sftp_limit(self, channel: int, requests: int) -> None:
        """How many of its requests the plane has unanswered at once, 1024 at most. Before the first transfer."""
    def sftp_get(
        self, channel: int, handle: bytes, fd: int, *, offset: int, size: int, chunk: int, to_end: bool
    ) -> int:
        """Reads [offset, offset+size) of the handle in pieces of chunk bytes into fd at the same offsets (pwritev);
        with to_end also probes past it until the server says EOF. Returns a transfer number; fd must stay open until
        its EVENT_TRANSFER. Transfers of a channel go in order, overlapping at the joints."""
    def sftp_put(self, channel: int, handle: bytes, fd: int, *, offset: int, size: int, chunk: int) -> int:
        """Writes fd's bytes from offset, at most size of them (-1: until end of file), to the handle at the same
        offsets."""
    def transfer_progress(self, transfer: int) -> int: ...  # bytes so far; 0 after transfer_result
    def transfer_contiguous(self, transfer: int) -> int: ...  # the same without a gap
    def transfer_cancel(self, transfer: int) -> None: ...  # no new requests; ends when the outstanding are answered
    def transfer_result(self, transfer: int) -> TransferResult: ...  # once, after its EVENT_TRANSFER
    def set_send_rate(self, bytes_per_second: int) -> None: ...  # 0: no limit; bulk only
    @property
    def wait_seconds(self) -> float: ...  # > 0: the rate limit paused sending; call step again after it
    def content(self, flags: int) -> bool:
        """After a step that returned ``flags``: to move bytes on, the plane needs nothing but its socket and the
        descriptors that it relays."""

    # -- SFTP served -----------------------------------------------------------------------------------------------
    # The other side of the above. READ and WRITE of registered files never reach Python; any other request is an
    # EVENT_SFTP, and what came behind it waits, without window credit, until sftp_serve_resume. So each request sees
    # what those before it did, and answers go out in order: Python's with channel_write, whole messages with their
    # length, before it resumes. After channel_eof or channel_close nothing is answered any more.

    def sftp_serve_attach(
        self,
        channel: int,
        end_of_file: bytes,
        statuses: Sequence[bytes],
        *,
        max_read: int = 261120,
        max_message: int = 262144,
    ) -> None:
        """From now on what arrives on this channel is requests (first INIT, as an event).

        ``end_of_file`` is what STATUS says from behind its id at the end of a file, ``statuses`` the same by errno: 0
        is success, the last one stands for all beyond it. Longer READs than ``max_read`` are events; a longer message
        than ``max_message`` ends the connection (ProtocolError)."""
    def sftp_serve_feed(self, channel: int, data: bytes) -> None:
        """What had come as EVENT_DATA before the channel was attached, in order, and before the next turn; it is not to
        be consumed then."""
    def sftp_serve_register(
        self, channel: int, handle: bytes, fd: int, *, readable: bool, writable: bool, append: bool
    ) -> None:
        """A regular file, blocking, and its handle of 4 bytes: low half index, high half how often that was used.
        ``fd`` must stay open until sftp_serve_forget. READ where not readable, and WRITE where not writable
        or at the end (append), are events."""
    def sftp_serve_forget(self, channel: int, handle: bytes) -> None:
        """Its descriptor is not touched any more. A handle that is not registered is none to forget."""
    def sftp_serve_resume(self, channel: int) -> None:
        """The last EVENT_SFTP is answered: on with what waits, at the next turn (step or take). Raises ValueError where
        there was none."""
    def sftp_serve_counters(self, channel: int) -> tuple[int, int]: ...  # bytes read, bytes written

    # -- descriptors relayed ---------------------------------------------------------------------------------------
    # Descriptors joined to a channel's streams: of a program, a terminal or a socket, without an object a packet. A
    # source is read while the peer's window and the send buffer have room, the peer gets credit for what a sink has
    # taken. A descriptor that is not ready parks its direction until relay_ready. Data of a stream without a sink is
    # dropped. What an end means for the channel (EOF, CLOSE) is Python's to say.

    def relay_attach(
        self, channel: int, *, source: int = -1, source_stderr: int = -1, sink: int = -1, sink_stderr: int = -1
    ) -> None:
        """Joins descriptors to a channel that is open, or being opened: sockets, regular files, or non-blocking ones.
        One may be several ends. They must stay open until EVENT_RELAY says that they are done with, relay_release, or
        channel_remove."""
    def relay_feed(self, channel: int, data: bytes, stream: int = 0) -> None:
        """What had come as EVENT_DATA before the channel was attached, in order, and before the next turn; it is not to
        be consumed then."""
    def relay_waits(self, watching: bool) -> list[Event]:
        """An EVENT_RELAY_WAITS for each relay whose ends are to be watched otherwise than it was said last: sources for
        reading, sinks for writing. With ``watching`` False none are, since linger() waits for them."""
    def relay_ready(self, channel: int, ends: int) -> None:
        """They are ready: on with them, at the next turn (step or take)."""
    def relay_release(self, channel: int, ends: int) -> None:
        """Their descriptors are not touched any more. What waits for a sink is dropped, and the peer may send on."""
    def relay_kept(self, channel: int, stream: int = 0) -> bytes:
        """What arrived and the sink has not taken yet: a window at most."""
    def relay_pending(self, channel: int, stream: int = 0) -> int: ...  # how many bytes that are

def linger(planes: list[Plane], fds: list[int], flags: list[int], wakeup: int, seconds: float) -> list[int | Exception]:
    """Turns of several contented planes (MAX_LINGERING at most) whenever their sockets, or descriptors that they relay,
    are ready, without the GIL.

    ``flags`` are those of each plane's last step. Returns as soon as one of them is no longer content, the descriptor
    ``wakeup`` (-1: none) is readable, ``seconds`` (60 at most) have passed, or half a second since the first turn, for
    Python has to look for signals; for each plane with the flags of its last turn, or with what step would have
    raised."""
