"""CUDA kernels on a CPU: compiled as C++, with the threads of each block run in turn (host.h).

This compiles the same source as for a device, so that arithmetic, indices, barriers and launch arguments can be tested
without one. It cannot test speed, nor CUDA's own compiler and libraries.
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
MISSING = "g++, which compiles the kernels for the CPU, is not installed"
SIGNATURE = re.compile(r'extern "C" __global__ void (\w+)\s*\(([^)]*)\)')
DTYPES = {"float": "float32", "double": "float64", "__half": "float16", "__nv_bfloat16": "bfloat16"}
SCALARS = {"Int": (int, ctypes.c_longlong), "double": (float, ctypes.c_double)}


def parameters(source: str) -> dict[str, list[tuple[str, bool]]]:
    """Return {kernel: [(type, whether it is a pointer)]} of the kernels declared in the source."""
    found = {}
    for name, arguments in SIGNATURE.findall(source):
        declarations = [re.sub(r"\bconst\b", "", one).strip() for one in arguments.split(",")]
        found[name] = [(re.split(r"[\s*]", one)[0], "*" in one) for one in declarations]
    return found


def launchers(declared: dict[str, list[tuple[str, bool]]]) -> str:
    """Return the source of a C function per kernel that takes the arguments as CUDA does, by their addresses."""
    lines = []
    for name, arguments in declared.items():
        types = [f"{kind}{' *' if pointer else ''}" for kind, pointer in arguments]
        values = ", ".join(f"*({kind} *)arguments[{i}]" for i, kind in enumerate(types))
        lines.append(f"""
extern "C" const char *launch_{name}(unsigned blocks, unsigned threads, unsigned shared, unsigned order, void **all) {{
    static void **arguments;
    arguments = all;
    return host::launch([] {{ {name}({values}); }}, blocks, threads, shared, order);
}}""")
    return "\n".join(lines)


@functools.cache
def compiled(source: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """Compile the source to a library, once for each set of options."""
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
    """A kernel that is launched as in CuPy, and checks its arguments against the source.

    CuPy passes a Python int as 8 bytes, a float as a double and an array as its address, without checking the kernel's
    declaration. Here the declared types must match.
    """

    order = 0  # of the threads in a block; see host.h

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

    def _value(self, argument: Any, kind: str, pointer: bool) -> Any:
        if not pointer:
            python, c = SCALARS[kind]
            assert type(argument) is python, f"{self.name} expects {kind}; found {argument!r}"
            return c(argument)
        if type(argument) is int and argument == 0:  # a null pointer
            return ctypes.c_void_p(None)
        address, dtype = self.address(argument)
        kind = self.types.get(kind, kind)
        expected = {"bool": "bool", "Int": "int64", "Byte": "uint8", "Integer": "int8"}.get(kind) or DTYPES[kind]
        assert dtype == expected, f"{self.name} expects an array of {expected}; found {dtype}"
        return ctypes.c_void_p(address)
