"""CUDA kernels on an ordinary processor: compiled as C++, each block's threads run in turn (host.h).

The same source that a device is given is compiled for this computer, so that its arithmetic, its indices, its barriers
and the arguments of every launch can be tested without a device. What this cannot show is speed, and what a device's
own compiler and libraries make of it.
"""

from __future__ import annotations

import ctypes
import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
COMPILER = shutil.which("g++")
MISSING = "no g++ to compile the kernels for this processor with"
SIGNATURE = re.compile(r'extern "C" __global__ void (\w+)\s*\(([^)]*)\)')
DTYPES = {"float": "float32", "double": "float64", "__half": "float16", "__nv_bfloat16": "bfloat16"}
SCALARS = {"Int": (int, ctypes.c_longlong), "double": (float, ctypes.c_double)}


def parameters(source: str) -> dict[str, list[tuple[str, bool]]]:
    """{kernel: [(type, whether it is a pointer)]} as the source declares them."""
    found = {}
    for name, given in SIGNATURE.findall(source):
        words = [re.sub(r"\bconst\b", "", one).strip() for one in given.split(",")]
        found[name] = [(re.split(r"[\s*]", word)[0], "*" in word) for word in words]
    return found


def launchers(declared: dict[str, list[tuple[str, bool]]]) -> str:
    """C functions that take each kernel's arguments as CUDA does, by their addresses."""
    lines = []
    for name, given in declared.items():
        types = [f"{kind}{' *' if pointer else ''}" for kind, pointer in given]
        taken = ", ".join(f"*({kind} *)arguments[{i}]" for i, kind in enumerate(types))
        lines.append(f"""
extern "C" const char *launch_{name}(unsigned blocks, unsigned threads, unsigned shared, unsigned order, void **all) {{
    static void **arguments;
    arguments = all;
    return host::launch([] {{ {name}({taken}); }}, blocks, threads, shared, order);
}}""")
    return "\n".join(lines)


@functools.cache
def compiled(source: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """The library of this source; compiled once for each set of options."""
    assert COMPILER, MISSING
    code = re.sub(r"extern __shared__ (\w+) (\w+)\[\];", r"\1 *\2 = (\1 *)host::dynamic_shared();", source)
    with tempfile.TemporaryDirectory() as folder:
        path, library = Path(folder) / "kernels.cpp", Path(folder) / "kernels.so"
        path.write_text(f'#include "host.h"\n{code}\n{launchers(parameters(source))}\n', encoding="utf-8")
        flags = ["-O2", "-shared", "-fPIC", "-w", "-U_FORTIFY_SOURCE", "-ffp-contract=off", f"-I{HERE}", *options]
        done = subprocess.run([COMPILER, *flags, "-o", str(library), str(path)], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return ctypes.CDLL(str(library))


class Function:
    """A kernel that is launched as CuPy launches one, and checks what it is given against the source.

    CuPy hands over a Python int as 8 bytes, a float as a double, an array as its address, whatever the kernel expects;
    here it must expect just that.
    """

    order = 0  # in which the threads of a block run; see host.h

    def __init__(
        self, source: str, options: tuple[str, ...], name: str, address: Callable[[Any], tuple[int, str]]
    ) -> None:
        self.name, self.address = name, address
        self.declared = parameters(source)[name]
        types = dict(option[2:].split("=") for option in options if option.startswith("-D"))
        self.types = {"T": types["ARRAYS"], "A": types["SUMS"]}
        self.call = getattr(compiled(source, options), f"launch_{name}")
        self.call.restype = ctypes.c_char_p

    def __call__(self, grid: tuple[int], block: tuple[int], args: Sequence[Any], *, shared_mem: int = 0) -> None:
        assert len(args) == len(self.declared), f"{self.name} takes {len(self.declared)} arguments; found {len(args)}"
        values = [self._value(one, *kind) for one, kind in zip(args, self.declared, strict=True)]
        addresses = (ctypes.c_void_p * len(values))(*[ctypes.addressof(value) for value in values])
        fault = self.call(grid[0], block[0], shared_mem, Function.order, addresses)
        if fault:
            raise RuntimeError(f"{self.name}: {fault.decode()}")

    def _value(self, given: Any, kind: str, pointer: bool) -> Any:
        if not pointer:
            python, c = SCALARS[kind]
            assert type(given) is python, f"{self.name} expects {kind}; found {given!r}"
            return c(given)
        if type(given) is int and given == 0:  # no array
            return ctypes.c_void_p(None)
        address, dtype = self.address(given)
        kind = self.types.get(kind, kind)
        expected = {"bool": "bool", "Int": "int64"}.get(kind) or DTYPES[kind]
        assert dtype == expected, f"{self.name} expects an array of {expected}; found {dtype}"
        return ctypes.c_void_p(address)
