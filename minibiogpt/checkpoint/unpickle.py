"""Read a pickle as data: its opcodes are executed here, on dicts, lists and tuples; nothing is imported or called.

Python's own Unpickler calls what a file names. Overriding ``find_class`` would not be enough: the Unpickler allocates
32 GB for a memo index of 2**31, and it hashes any key, which takes forever for a nested tuple. Checkpoints use few
opcodes, so they are implemented here.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

KEYS = (str, bytes, int, float, type(None))  # the file's size bounds the time to hash these
# Multiples of 2**61 - 1 have the same hash, so a dict of n such integers takes O(n^2) steps. Optimizers number their
# states from 0. Hashes of strings are random, and few floats share one.
MAX_INTEGER_KEY = 1 << 31
MAX_OPCODES = 1 << 20  # ten times those of BioGPT-Large with its optimizer state; each makes up to 100 bytes
MAX_NAME = 500  # characters: the parts of a name may be long strings that the pickle repeats with two bytes


class NotData(Exception):
    """Raised for a pickle that is broken or holds more than data; the message says what was found."""


@dataclass(frozen=True)
class Name:
    """A class or function that the pickle names; only the name is kept."""

    full: str


@dataclass(eq=False, repr=False)
class Inert:
    """A placeholder for the result of an unknown class or function: its name and the data passed to it."""

    name: str
    args: Any = ()
    state: Any = None


class Unpickler:
    """Pickle's stack machine, without the parts that run code.

    Parameters
    ----------
    calls : {full name: function that replaces a call of it}, taking the tuple of arguments.
    names : further names that may appear.
    persistent : function that resolves a persistent id.
    strict : reject every other name; otherwise a call of it returns an ``Inert``.

    Examples
    --------
    >>> import io
    >>> Unpickler({}, (), repr, strict=True).load(io.BytesIO(b"(lp0\\nI3\\na."))
    [3]
    >>> Unpickler({}, (), repr, strict=True).load(io.BytesIO(b"cos\\nsystem\\n(S'ls'\\ntR."))
    Traceback (most recent call last):
    minibiogpt.checkpoint.unpickle.NotData: the name 'os.system'
    """

    def __init__(
        self,
        calls: Mapping[str, Callable[[Any], Any]],
        names: Container[str],
        persistent: Callable[[Any], Any],
        *,
        strict: bool,
    ) -> None:
        self.calls, self.names, self.persistent, self.strict = calls, names, persistent, strict
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.opcodes = 0  # in all pickles of the file

    def load(self, stream: BinaryIO) -> Any:
        """Return the object of the next pickle in ``stream``, and leave ``stream`` at the pickle's end.

        Raises
        ------
        NotData
            If the pickle is broken, holds an opcode or a name that is not data, or is far too long.
        """
        self.stack, self.marks, self.memo = [], [], {}
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "STOP":
                    return self.stack.pop()
                operation = getattr(self, f"op_{opcode.name.lower()}", None)
                if operation is None:
                    raise NotData(f"the opcode {opcode.name}")
                self.opcodes += 1
                if self.opcodes > MAX_OPCODES:
                    raise NotData(f"more than {MAX_OPCODES} opcodes, ten times those of the largest BioGPT")
                operation(argument)
        except (IndexError, KeyError):
            raise NotData("a broken pickle: it reads what it did not store") from None
        except (ValueError, OverflowError) as error:
            raise NotData(f"a broken pickle: {ascii(str(error)[:120])[1:-1]}") from None
        raise NotData("a broken pickle: no end")

    # Literals.

    def op_int(self, argument: Any) -> None:
        self.stack.append(argument)

    op_binint = op_binint1 = op_binint2 = op_long = op_long1 = op_long4 = op_float = op_binfloat = op_int
    op_string = op_binstring = op_short_binstring = op_binbytes = op_short_binbytes = op_binbytes8 = op_int
    op_unicode = op_short_binunicode = op_binunicode = op_binunicode8 = op_bytearray8 = op_int
    op_none = op_int  # its argument is None

    def op_newtrue(self, _: None) -> None:
        self.stack.append(True)

    def op_newfalse(self, _: None) -> None:
        self.stack.append(False)

    def op_proto(self, _: int) -> None:
        """The version, or the length of a frame: nothing to do."""

    op_frame = op_proto

    # The stack and the memo.

    def op_mark(self, _: None) -> None:
        self.marks.append(len(self.stack))

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def op_pop(self, _: None) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def op_pop_mark(self, _: None) -> None:
        self._since_mark()

    def op_dup(self, _: None) -> None:
        self.stack.append(self.stack[-1])

    def op_put(self, index: int) -> None:
        if not 0 <= index < MAX_INTEGER_KEY:
            raise NotData("a broken pickle: a memo index of more than 31 bits")
        self.memo[index] = self.stack[-1]

    op_binput = op_long_binput = op_put

    def op_memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def op_get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    op_binget = op_long_binget = op_get

    # Tuples, lists (sets are read as lists) and dicts.

    def op_empty_tuple(self, _: None) -> None:
        self.stack.append(())

    def op_tuple(self, _: None) -> None:
        self.stack.append(tuple(self._since_mark()))

    def op_tuple1(self, _: None) -> None:
        self._last_as_tuple(1)

    def op_tuple2(self, _: None) -> None:
        self._last_as_tuple(2)

    def op_tuple3(self, _: None) -> None:
        self._last_as_tuple(3)

    def _last_as_tuple(self, count: int) -> None:
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def op_empty_list(self, _: None) -> None:
        self.stack.append([])

    op_empty_set = op_empty_list

    def op_list(self, _: None) -> None:
        self.stack.append(self._since_mark())

    op_frozenset = op_list

    def op_append(self, _: None) -> None:
        self._extend([self.stack.pop()])

    def op_appends(self, _: None) -> None:
        self._extend(self._since_mark())

    op_additems = op_appends

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)
        else:
            self._inert_only("items for", self.stack[-1])

    def op_empty_dict(self, _: None) -> None:
        self.stack.append({})

    def op_dict(self, _: None) -> None:
        items = self._since_mark()
        self.stack.append({})
        self._update(items)

    def op_setitem(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def op_setitems(self, _: None) -> None:
        self._update(self._since_mark())

    def _update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(target, dict):
                self._inert_only("entries for", target)
            elif isinstance(key, int) and abs(key) >= MAX_INTEGER_KEY:
                self._inert_only("a key of more than 31 bits that is", key)
            elif isinstance(key, KEYS):
                target[key] = value
            else:
                self._inert_only("a key that is", key)

    # Names, and the calls that a pickle would have made.

    def op_global(self, name: str) -> None:
        self._name(name.replace(" ", ".", 1))

    def op_stack_global(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise NotData("a name that is not a string")
        if len(name) + len(module) >= MAX_NAME:
            raise NotData(f"a name of more than {MAX_NAME} characters")
        self._name(f"{module}.{name}")

    def _name(self, full: str) -> None:
        if self.strict and full not in self.calls and full not in self.names:
            raise NotData(f"the name {_short(full)}")
        self.stack.append(Name(full))

    def op_binpersid(self, _: None) -> None:
        self.stack.append(self.persistent(self.stack.pop()))

    def op_reduce(self, _: None) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if isinstance(function, Name) and function.full in self.calls:
            self.stack.append(self.calls[function.full](args))
        else:
            self._inert_only("a call of", function)
            self.stack.append(Inert(_named(function), args))

    op_newobj = op_reduce  # the call of a class; no different here

    def op_newobj_ex(self, _: None) -> None:
        self.stack.pop()  # the keywords
        self.op_reduce(None)

    def op_build(self, _: None) -> None:
        """Set attributes: an ``Inert`` keeps them; those of a dict (a state_dict's ``_metadata``) are ignored."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Inert):
            target.state = state
        elif not isinstance(target, dict):
            self._inert_only("attributes for", target)

    def _inert_only(self, action: str, target: Any) -> None:
        if self.strict:
            raise NotData(f"{action} {_short(_named(target))}")


def _named(value: Any) -> str:
    if isinstance(value, Name):
        return value.full
    return value.name if isinstance(value, Inert) else type(value).__name__


def _short(text: str, limit: int = 80) -> str:
    """Return the text truncated and escaped: a hostile file may hold terminal control sequences."""
    return ascii(text if len(text) <= limit else text[:limit] + "...")
