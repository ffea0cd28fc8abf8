"""What a message is made of: each field is described once, and the description reads, writes and bounds it.

A :class:`Structure` is a sequence of RFC 4251 section 5 values. Its fields are annotated with a :class:`Field`, e.g.::

    class ExitSignal(Structure):
        signal: Name
        core_dumped: Boolean
        message: Text
        language: Language = ""

It behaves as a frozen dataclass, without the half millisecond of code generation that each dataclass costs at import.
"""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, NamedTuple, Self, dataclass_transform

from fastssh.errors import ProtocolError
from fastssh.wire import codec
from fastssh.wire.codec import Reader


class Field(NamedTuple):
    """How one value is read and written. ``minimum``: the fewest bytes it takes on the wire."""

    read: Callable[[Reader], Any]
    write: Callable[[Any], bytes]
    minimum: int
    secret: bool = False  # never shown in a log


def pair(first: Field, second: Field) -> Field:
    """Two values, one after the other, as a tuple."""
    return Field(
        lambda reader: (first.read(reader), second.read(reader)),
        lambda value: first.write(value[0]) + second.write(value[1]),
        first.minimum + second.minimum,
    )


def counted(item: Field, *, secret: bool = False) -> Field:
    """A uint32 count and that many items, as a tuple. The count is checked against the bytes that remain first."""

    def read(reader: Reader) -> tuple[Any, ...]:
        count = reader.uint32()
        if count > reader.remaining // item.minimum:
            raise ProtocolError(f"{count} items announced, {reader.remaining} bytes left")
        return tuple(item.read(reader) for _ in range(count))

    def write(values: tuple[Any, ...]) -> bytes:
        return codec.uint32(len(values)) + b"".join(item.write(value) for value in values)

    return Field(read, write, 4, secret)


def until_end(item: Field) -> Field:
    """Items up to the end of the message, as a tuple."""

    def read(reader: Reader) -> tuple[Any, ...]:
        found = []
        while reader.remaining:
            found.append(item.read(reader))
        return tuple(found)

    return Field(read, lambda values: b"".join(item.write(value) for value in values), 0)


def fixed(count: int) -> Field:
    """Exactly ``count`` bytes."""

    def write(value: bytes) -> bytes:
        if len(value) != count:
            raise ValueError(f"{count} bytes wanted, not {len(value)}")
        return value

    return Field(lambda reader: reader.raw(count), write, count)


def absent_as_empty(item: Field) -> Field:
    """A last string that some implementations leave out (language tags): absent reads as empty."""
    return Field(lambda reader: item.read(reader) if reader.remaining else "", item.write, 0)


BOOLEAN = Field(Reader.boolean, codec.boolean, 1)
UINT32 = Field(Reader.uint32, codec.uint32, 4)
UINT64 = Field(Reader.uint64, codec.uint64, 8)
STRING = Field(Reader.string, codec.string, 4)
UTF8 = Field(Reader.utf8, codec.utf8, 4)
TEXT = Field(Reader.text, codec.utf8, 4)
NAME = Field(Reader.ascii, codec.utf8, 4)
NAME_LIST = Field(Reader.name_list, codec.name_list, 4)
MPINT = Field(Reader.mpint, codec.mpint, 4)
REST = Field(Reader.rest, bytes, 0)

Boolean = Annotated[bool, BOOLEAN]
Uint32 = Annotated[int, UINT32]
String = Annotated[bytes, STRING]
Utf8 = Annotated[str, UTF8]
Text = Annotated[str, TEXT]  # for people: never refused, never decided upon; escape before it reaches a terminal
Name = Annotated[str, NAME]
NameList = Annotated[tuple[str, ...], NAME_LIST]
Mpint = Annotated[int, MPINT]
Rest = Annotated[bytes, REST]  # everything left, as it is
Secret = Annotated[str, Field(Reader.utf8, codec.utf8, 4, secret=True)]
Language = Annotated[str, absent_as_empty(TEXT)]  # RFC 3066 tag; nobody fills it


@dataclass_transform(frozen_default=True)
class Structure:
    """Base of everything described by fields. Instances are immutable and compare by value."""

    _layout: ClassVar[tuple[tuple[str, Field], ...]] = ()

    def __init_subclass__(cls) -> None:
        cls._layout = tuple(
            (name, kind)
            for name, hint in cls.__annotations__.items()
            for kind in getattr(hint, "__metadata__", ())
            if isinstance(kind, Field)
        )

    def __init__(self, *values: Any, **named: Any) -> None:
        names = [name for name, _ in self._layout]
        if len(values) > len(names):
            raise TypeError(f"{type(self).__name__} has {len(names)} fields, {len(values)} values given")
        given = dict(zip(names, values, strict=False))
        wrong = [name for name in named if name in given or name not in names]
        missing = [name for name in names if name not in given and name not in named and not hasattr(type(self), name)]
        if wrong or missing:
            raise TypeError(f"{type(self).__name__}: unexpected or repeated {wrong}, missing {missing}")
        self.__dict__.update(given, **named)  # defaults stay with the class

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and type(other) is type(self) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        return self.describe()

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name, _ in self._layout)

    def body(self) -> bytes:
        """The fields on the wire."""
        return b"".join(field.write(getattr(self, name)) for name, field in self._layout)

    @classmethod
    def parse(cls, data: bytes, offset: int = 0) -> Self:
        """The structure that fills ``data`` from ``offset`` to its end.

        Raises ProtocolError naming the structure for anything short, superfluous or out of its type.
        """
        reader = Reader(data, offset)
        value = cls.__new__(cls)  # every field is read: nothing of __init__ is left to check
        try:
            value.__dict__.update((name, field.read(reader)) for name, field in cls._layout)
            reader.end()
        except ProtocolError as error:
            raise ProtocolError(f"{cls.label()}: {error}", error.reason) from None
        return value

    @classmethod
    def label(cls) -> str:
        """What errors and logs call it."""
        return cls.__name__

    def describe(self) -> str:
        """One line for a log: bytes by their length, secrets not at all."""
        return f"{self.label()}({', '.join(f'{name}={self._show(name, field)}' for name, field in self._layout)})"

    def _show(self, name: str, field: Field) -> str:
        value = getattr(self, name)
        if field.secret:
            return "<secret>"
        if isinstance(value, bytes):
            return f"<{len(value)} bytes>"
        if isinstance(value, int) and value.bit_length() > 64:
            return f"<{value.bit_length()} bits>"
        return ascii(value)
