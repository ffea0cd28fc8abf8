"""PAM (pam(3)): what its modules ask is put to the client, word by word, and their verdict is theirs.

libpam is called through ctypes: it is there or it is not, whatever was installed with fastssh. It asks from within a
call that does not return before it has the answer, so a conversation over the network needs a thread; the connection's
process has no other one, and waits whenever PAM does not.
"""

from __future__ import annotations

import ctypes
import queue
import threading
from collections.abc import Callable
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_size_t, c_void_p
from typing import Any, Final

from fastssh.auth.interactive import Conversation, Questions

SERVICE: Final = "sshd"
TERMINAL: Final = "ssh"
LIBRARIES: Final = ("libpam.so.0", "libpam.so", "libpam.dylib")
CONFIGURATION: str | None = None  #: a directory with the services; None for the system's
MAX_MESSAGES: Final = 32  # PAM_MAX_NUM_MSG
MAX_ANSWER: Final = 1024  # bytes, as sshd

_SUCCESS, _BUFFER_ERROR, _DENIED, _CONVERSATION_ERROR = 0, 5, 6, 19
_ECHO_OFF, _ECHO_ON, _ERROR_TEXT, _INFO_TEXT = 1, 2, 3, 4
_USER_ITEM, _TTY_ITEM, _RHOST_ITEM = 2, 3, 4
_DISALLOW_NULL_AUTHTOK = 1


class _Message(Structure):
    _fields_ = (("style", c_int), ("text", c_char_p))


class _Response(Structure):
    _fields_ = (("text", c_void_p), ("code", c_int))


_Ask = ctypes.CFUNCTYPE(c_int, c_int, POINTER(POINTER(_Message)), POINTER(POINTER(_Response)), c_void_p)


class _Conv(Structure):
    _fields_ = (("ask", _Ask), ("data", c_void_p))


#: (style, text) of what a module says at once; an answer for each, empty where none is wanted, or None to end it.
Answer = Callable[[list[tuple[int, str]]], list[str] | None]


class Pam:
    """libpam. Raises OSError where there is none."""

    def __init__(self) -> None:
        self._pam = _library()
        self._libc: Any = ctypes.CDLL(None)
        self._libc.calloc.restype, self._libc.calloc.argtypes = c_void_p, [c_size_t, c_size_t]
        self._libc.strdup.restype, self._libc.strdup.argtypes = c_void_p, [c_char_p]
        for name, arguments in (
            ("pam_start", [c_char_p, c_char_p, POINTER(_Conv), POINTER(c_void_p)]),
            ("pam_set_item", [c_void_p, c_int, c_char_p]),
            ("pam_get_item", [c_void_p, c_int, POINTER(c_char_p)]),
            *((call, [c_void_p, c_int]) for call in ("pam_authenticate", "pam_acct_mgmt", "pam_end")),
        ):
            function = getattr(self._pam, name)
            function.restype, function.argtypes = c_int, arguments

    def password_is_right(self, user: str, password: str, address: str) -> bool:
        """Whether PAM lets ``user`` in who answers each hidden question with ``password`` and cannot answer others."""

        def answer(messages: list[tuple[int, str]]) -> list[str] | None:
            if any(style == _ECHO_ON for style, _ in messages):
                return None
            return [password if style == _ECHO_OFF else "" for style, _ in messages]

        return self._run(user, address, answer)

    def account_is_open(self, user: str, address: str) -> bool:
        """Whether PAM lets ``user`` in who has shown otherwise who it is. There is nobody to ask, or to tell."""

        def answer(messages: list[tuple[int, str]]) -> list[str] | None:
            return None if _questions(messages).prompts else [""] * len(messages)

        return self._run(user, address, answer, authenticate=False)

    def conversation(self, user: str, address: str) -> Conversation:
        """What PAM asks before it lets ``user`` in; closing it ends PAM's work."""
        asked: queue.SimpleQueue[list[tuple[int, str]] | bool] = queue.SimpleQueue()
        answers: queue.SimpleQueue[list[str] | None] = queue.SimpleQueue()

        given_up = threading.Event()

        def answer(messages: list[tuple[int, str]]) -> list[str] | None:
            if given_up.is_set():  # what fails in one module does not keep the next from asking
                return None
            asked.put(messages)
            return answers.get()

        def run() -> None:
            right = False
            try:
                right = self._run(user, address, answer)
            finally:
                asked.put(right)

        thread = threading.Thread(target=run, name="pam", daemon=True)
        thread.start()
        try:
            while not isinstance(messages := asked.get(), bool):
                answers.put(_place((yield _questions(messages)), messages))
        except GeneratorExit:
            given_up.set()
            answers.put(None)
            raise
        finally:
            thread.join()
        return messages

    def _run(self, user: str, address: str, answer: Answer, *, authenticate: bool = True) -> bool:
        ask = _Ask(lambda count, messages, responses, data: self._ask(count, messages, responses, answer))
        name, handle, conv = user.encode("utf-8", "surrogateescape"), c_void_p(), _Conv(ask, None)
        if self._start(name, conv, handle) != _SUCCESS:
            return False
        status = _SUCCESS
        for item, value in ((_RHOST_ITEM, address), (_TTY_ITEM, TERMINAL)):
            status = status or self._pam.pam_set_item(handle, item, value.encode("ascii"))
        if authenticate:
            status = status or self._pam.pam_authenticate(handle, _DISALLOW_NULL_AUTHTOK)
        status = status or self._pam.pam_acct_mgmt(handle, _DISALLOW_NULL_AUTHTOK)
        status = status or self._still(name, handle)
        self._pam.pam_end(handle, status)
        return bool(status == _SUCCESS)

    def _still(self, user: bytes, handle: c_void_p) -> int:
        """Modules may have judged somebody else: that says nothing of who logs in here."""
        found = c_char_p()
        status = int(self._pam.pam_get_item(handle, _USER_ITEM, byref(found)))
        return status or (_SUCCESS if found.value == user else _DENIED)

    def _start(self, user: bytes, conv: _Conv, handle: c_void_p) -> int:
        if CONFIGURATION is None:
            return int(self._pam.pam_start(SERVICE.encode(), user, byref(conv), byref(handle)))
        start = self._pam.pam_start_confdir
        start.restype, start.argtypes = c_int, [c_char_p, c_char_p, POINTER(_Conv), c_char_p, POINTER(c_void_p)]
        return int(start(SERVICE.encode(), user, byref(conv), CONFIGURATION.encode(), byref(handle)))

    def _ask(self, count: int, messages: Any, responses: Any, answer: Answer) -> int:
        """PAM's callback: nothing may be raised from here."""
        if not 0 < count <= MAX_MESSAGES:
            return _CONVERSATION_ERROR
        each = [messages[at][0] for at in range(count)]
        said = [(message.style, (message.text or b"").decode("utf-8", "replace")) for message in each]
        answers = answer(said)
        encoded = None if answers is None else [text.encode("utf-8", "surrogatepass") for text in answers]
        if encoded is None or any(len(text) > MAX_ANSWER or b"\0" in text for text in encoded):
            return _CONVERSATION_ERROR
        found = self._libc.calloc(count, ctypes.sizeof(_Response))  # PAM frees it, and what it points to
        if not found:
            return _BUFFER_ERROR
        replies = ctypes.cast(found, POINTER(_Response))
        for at, ((style, _), text) in enumerate(zip(said, encoded, strict=True)):
            if style in (_ECHO_OFF, _ECHO_ON):
                replies[at].text = self._libc.strdup(text)
        responses[0] = replies
        return _SUCCESS


def _library() -> Any:
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise OSError("libpam is not there")


def _questions(messages: list[tuple[int, str]]) -> Questions:
    told = "\n".join(text for style, text in messages if style in (_ERROR_TEXT, _INFO_TEXT))
    prompts = tuple((text, style == _ECHO_ON) for style, text in messages if style in (_ECHO_OFF, _ECHO_ON))
    return Questions(prompts, instruction=told)


def _place(given: tuple[str, ...], messages: list[tuple[int, str]]) -> list[str]:
    """Each answer behind its question; nothing behind what was only told."""
    left = iter(given)
    return [next(left) if style in (_ECHO_OFF, _ECHO_ON) else "" for style, _ in messages]
