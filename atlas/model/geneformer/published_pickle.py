"""Read the pickled dictionaries that Geneformer publishes, without unpickling.

In: the bytes of a pickle that holds one dictionary from names to numbers. Out: that dictionary, in plain Python numbers.
The opcodes are interpreted here, by an allow-list; nothing is imported, called or constructed on the file's behalf. The two
NumPy constructors that such files name (``scalar`` and ``dtype``) are replaced by readers of eight- to sixty-four-bit
numbers. Everything else a pickle can say is refused.

Source: opcodes as documented in Python's ``pickletools``; which of them occur was counted in the published files.
"""

from __future__ import annotations

import math
import pickletools
import struct
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from atlas.errors import ArtifactError

MAX_BYTES = 64 << 20
_Number = int | float
_FORMATS = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f4", "f8"}
_STRUCT = {"i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q", "f4": "f", "f8": "d"}


class _Refused(ValueError):
    """The file says something that a dictionary of numbers does not need."""


_MARK = object()


@dataclass(frozen=True)
class _Name:
    """A global that the file names; it is never looked up."""

    module: str
    name: str


@dataclass(frozen=True)
class _Dtype:
    """Stand-in for ``numpy.dtype``: the code of a number's type."""

    code: str


def read_published_dictionary(path: Path) -> dict[str, _Number]:
    """Return the dictionary of a published ``.pkl`` file: name to integer or float.

    Raises
    ------
    ArtifactError
        ``missing`` if there is no such file; ``corrupt`` if it is no pickle, holds anything but one dictionary from text to
        finite numbers, or names any code to run.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path} is missing. Give the folder that the model hub published.", kind="missing"
        ) from error
    if len(data) > MAX_BYTES:
        raise ArtifactError(
            f"{path} is larger than {MAX_BYTES:,} bytes; expected a dictionary of genes.", kind="corrupt"
        )
    try:
        return parse_dictionary(data)
    except ValueError as error:  # pickletools reports a damaged file so, UnicodeDecodeError included
        raise ArtifactError(
            f"{path} is not a dictionary from gene names to numbers: {error}. Nothing in it was run. "
            "Download the published file again.",
            kind="corrupt",
            details={"path": str(path)},
        ) from error


def parse_dictionary(data: bytes) -> dict[str, _Number]:
    """Interpret the opcodes of ``data``.

    Raises
    ------
    ValueError
        If the bytes are damaged, or say more than one dictionary from text to finite numbers.
    """
    machine = _Machine()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pickletools decodes the strings of forged files loosely
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                break
            machine.step(opcode.name, argument)
    if len(machine.stack) != 1 or not isinstance(machine.stack[0], dict):
        raise _Refused("its content is no dictionary")
    return machine.stack[0]


class _Machine:
    """The stack and the memo of one file."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        elif name not in _IGNORED:
            raise _Refused(f"it uses {name}, which a dictionary of numbers does not need")

    def pop(self) -> Any:
        if not self.stack:
            raise _Refused("an operation has no operand")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        items = []
        while (item := self.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def put(self, place: int | None) -> None:
        if not self.stack:
            raise _Refused("an operation has no operand")
        self._memo[len(self._memo) if place is None else place] = self.stack[-1]

    def get(self, place: int) -> None:
        if place not in self._memo:
            raise _Refused("it refers to a value that it never stored")
        self.stack.append(self._memo[place])

    def tuple_of(self, items: list[Any]) -> None:
        if any(isinstance(item, tuple) for item in items):
            raise _Refused("it nests tuples")
        self.stack.append(tuple(items))

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1] if self.stack else None
        if not isinstance(target, dict) or len(items) % 2:
            raise _Refused("values are stored in something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not isinstance(key, str) or not is_number or not math.isfinite(value):
                raise _Refused(f"it maps {_shown(key)} to {_shown(value)}; expected text to finite numbers")
            target[key] = value

    def global_of(self, module: Any, name: Any) -> None:
        if (module, name) not in _CALLABLES:
            raise _Refused(f"it names the code {_shown(module)}.{_shown(name)}")
        self.stack.append(_Name(module, name))

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise _Refused("it calls something that is no known constructor")
        self.stack.append(_CALLABLES[function.module, function.name](*_two(arguments)))

    def build(self) -> None:
        state = self.pop()
        if not self.stack or not isinstance(self.stack[-1], _Dtype) or state not in _DTYPE_STATES:
            raise _Refused("it sets the state of something that is no number type")


def _two(arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    """``dtype`` is called with two flags behind the code, ``scalar`` and ``encode`` with two values."""
    if len(arguments) == 3 and arguments[1:] == (False, True):
        return arguments[0], None
    if len(arguments) != 2:
        raise _Refused("a constructor has other arguments than expected")
    return arguments[0], arguments[1]


def _make_dtype(code: Any, nothing: Any) -> _Dtype:
    if nothing is not None or not isinstance(code, str) or code not in _FORMATS:
        raise _Refused(f"it holds values of type {_shown(code)}; expected whole numbers or floats")
    return _Dtype(code)


def _make_scalar(dtype: Any, data: Any) -> _Number:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes) or len(data) != int(dtype.code[1:]):
        raise _Refused("a number has another length than its type")
    value: _Number = struct.unpack("<" + _STRUCT[dtype.code], data)[0]
    return value


def _encode(text: Any, encoding: Any) -> bytes:
    """How protocol 2 and below write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise _Refused("it decodes something that is no number")
    return text.encode("latin1")


def _shown(value: Any) -> str:
    return repr(value)[:60] if isinstance(value, (str, int, float, bytes)) else type(value).__name__


_CALLABLES: Mapping[tuple[str, str], Callable[[Any, Any], Any]] = MappingProxyType(
    {
        ("numpy", "dtype"): _make_dtype,
        ("numpy.core.multiarray", "scalar"): _make_scalar,
        ("numpy._core.multiarray", "scalar"): _make_scalar,  # the same constructor since NumPy 2
        ("_codecs", "encode"): _encode,
    }
)
_DTYPE_STATES = tuple((3, order, None, None, None, -1, -1, 0) for order in "<|")
_LITERALS = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG", "BINFLOAT", "FLOAT", "UNICODE", "BINUNICODE"}
    | {"SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"}
)
_CONSTANTS: Mapping[str, Any] = MappingProxyType(
    {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK, "EMPTY_TUPLE": ()}
)
_IGNORED = frozenset({"PROTO", "FRAME"})


def _dict_of_marked(machine: _Machine) -> None:
    items = machine.pop_to_mark()
    machine.stack.append({})
    machine.set_items(items)


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.global_of(module, name)


def _last(machine: _Machine, n: int) -> list[Any]:
    return [machine.pop() for _ in range(n)][::-1]


_ACTIONS: Mapping[str, Callable[[_Machine, Any], None]] = MappingProxyType(
    {
        "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
        "DICT": lambda machine, _: _dict_of_marked(machine),
        "SETITEM": lambda machine, _: machine.set_items(_last(machine, 2)),
        "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
        "TUPLE": lambda machine, _: machine.tuple_of(machine.pop_to_mark()),
        "TUPLE1": lambda machine, _: machine.tuple_of(_last(machine, 1)),
        "TUPLE2": lambda machine, _: machine.tuple_of(_last(machine, 2)),
        "TUPLE3": lambda machine, _: machine.tuple_of(_last(machine, 3)),
        "GLOBAL": lambda machine, argument: machine.global_of(*argument.split(" ", 1)),
        "STACK_GLOBAL": lambda machine, _: _stack_global(machine),
        "REDUCE": lambda machine, _: machine.reduce(),
        "BUILD": lambda machine, _: machine.build(),
        "MEMOIZE": lambda machine, _: machine.put(None),
        "PUT": lambda machine, place: machine.put(place),
        "BINPUT": lambda machine, place: machine.put(place),
        "LONG_BINPUT": lambda machine, place: machine.put(place),
        "GET": lambda machine, place: machine.get(place),
        "BINGET": lambda machine, place: machine.get(place),
        "LONG_BINGET": lambda machine, place: machine.get(place),
    }
)
