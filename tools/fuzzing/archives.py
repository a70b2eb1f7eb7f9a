"""The target for pickled weights: files from torch.save, corrupted as bytes, as a zip archive and as a pickle."""

from __future__ import annotations

import io
import pickletools
import struct
import subprocess
import sys
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from minibiogpt import BioGptForCausalLM
from minibiogpt.checkpoint.convert import convert
from tools.fuzzing.checkpoints import MERGES, PIECES, seed_files, write_seed
from tools.fuzzing.mutate import mutate_bytes, odd_file
from tools.fuzzing.supervise import Target

TRANSFORMERS, FAIRSEQ = "pytorch_model.bin", "checkpoint.pt"
# Reads safetensors on stdin; writes archives, zipped and in the legacy format, each after a line with its size.
SAVER = """
import argparse, io, sys, torch, safetensors.torch
from collections import OrderedDict
tensors = safetensors.torch.load(sys.stdin.buffer.read())
half = {name: x.half() if "fc1" in name else x.bfloat16() if "fc2" in name else x for name, x in tensors.items()}
half["tied"], half["turned"] = half["biogpt.embed_tokens.weight"], half["biogpt.layers.0.fc1.weight"].T
args = argparse.Namespace(decoder_attention_heads=2, dropout=0.1, activation_fn="gelu", no_scale_embedding=False)
model = OrderedDict((f"decoder.{name.removeprefix('biogpt.')}", x) for name, x in tensors.items())
fairseq = {"args": args, "cfg": {"model": args}, "model": model, "extra": [1, 2.5, None, (args,)]}
half = OrderedDict(half)
for content, zipped in ((tensors, True), (half, True), (tensors, False), (fairseq, True), (fairseq, False)):
    archive = io.BytesIO()
    torch.save(content, archive, _use_new_zipfile_serialization=zipped)
    sys.stdout.buffer.write(b"%d\\n" % len(archive.getvalue()) + archive.getvalue())
"""
# Malicious pickles: each would create a file, start a program, open a connection, or take memory.
CALLS = [
    b"cos\nsystem\n(S'touch stray'\ntR.", b"c__builtin__\neval\n(S'open(\"stray\", \"w\")'\ntR.",
    b"cbuiltins\nopen\n(S'stray'\nS'w'\ntR.", b"csubprocess\nPopen\n((lS'touch'\naS'stray'\natR.",
    b"ctorch.hub\nload\n(S'x/y'\nS'z'\ntR.", b"cbuiltins\nbytearray\n(I4000000000\ntR.", b"(ibuiltins\nexec\n.",
    b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0ctouch stray\x85R.", b"(S'touch stray'\nios\nsystem\n.",
]  # fmt: skip
NUMBERS = [0, 1, -1, 255, 2**31 - 1, 2**31, 2**63 - 1, 2**64, -(2**70), 10**12]

SAME_HASH = 2**61 - 1  # Python's hash of an integer is its remainder
FLOOD = 1_500_000  # opcodes


@cache
def seeds() -> list[tuple[str, bytes]]:
    """Return (file name, archive) of the small model; torch writes them in its own process, workers don't import it."""
    weights = seed_files()["model.safetensors"]
    output = subprocess.run([sys.executable, "-c", SAVER], input=weights, stdout=subprocess.PIPE, check=True).stdout
    archives = []
    while output:
        size, _, output = output.partition(b"\n")
        archives.append((TRANSFORMERS if len(archives) < 3 else FAIRSEQ, output[: int(size)]))
        output = output[int(size) :]
    return archives


def make(rng: Random, folder: Path) -> dict[str, Any]:
    write_seed(folder)
    (folder / "model.safetensors").unlink()
    file, archive = rng.choice(seeds())
    (folder / file).write_bytes(archive)
    others = _fairseq(folder) if file == FAIRSEQ else ["config.json", "vocab.json", "tokenizer_config.json"]
    kind = rng.random()
    if kind < 0.04:
        odd_file(rng, folder / rng.choice([file, *others]))
    elif kind < 0.1:
        (folder / others[0]).unlink()  # the config is then derived from the tensors
    elif kind < 0.2:
        corrupted = folder / rng.choice(others)
        corrupted.write_bytes(mutate_bytes(rng, corrupted.read_bytes()))
    elif kind < 0.97:
        (folder / file).write_bytes(_corrupted(rng, archive))
    return {"source": rng.choice([".", file]), "dtype": rng.choice([None, None, "float16", "float64"])}


def _fairseq(folder: Path) -> list[str]:
    """Replace our files by those that fairseq stores beside its checkpoint; return their names."""
    for name in ("config.json", "vocab.json", "merges.txt", "tokenizer_config.json"):
        (folder / name).unlink()
    symbols = [piece.removesuffix("</w>") if piece.endswith("</w>") else f"{piece}@@" for piece in PIECES[4:]]
    (folder / "dict.txt").write_text("".join(f"{symbol} {100 - i}\n" for i, symbol in enumerate(symbols)))
    (folder / "bpecodes").write_text(MERGES)
    return ["dict.txt", "bpecodes"]


def _corrupted(rng: Random, archive: bytes) -> bytes:
    zipped, kind = archive.startswith(b"PK"), rng.random()
    if kind < 0.25:
        return mutate_bytes(rng, archive, head=2000)
    if not zipped:
        return _corrupted_pickle(rng, archive)
    return _corrupted_members(rng, archive)


def _corrupted_members(rng: Random, archive: bytes) -> bytes:
    """Unpack, corrupt a member (usually the pickle), its name or its size, and pack again."""
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    kind, name = rng.random(), rng.choice(sorted(members))
    if kind < 0.7:
        members[pickled] = _corrupted_pickle(rng, members[pickled])
    elif kind < 0.8:
        members[name] = mutate_bytes(rng, members[name])
    elif kind < 0.85:
        del members[name]
    elif kind < 0.95:
        odd = ["../stray", "/stray", "data.pkl", "x/data.pkl", "archive/data.pkl", name + "/", "a\0b", "\ud7ff" * 99]
        members[rng.choice(odd)] = members.pop(name) if rng.random() < 0.5 else members[name]
    else:
        members[name] = bytes(rng.choice([10**6, 2 * 10**8]))  # a zip bomb if compressed
    return _packed(rng, members)


def _packed(rng: Random, members: dict[str, bytes]) -> bytes:
    whole = io.BytesIO()
    compression = (
        zipfile.ZIP_DEFLATED if rng.random() < 0.2 or sum(map(len, members.values())) > 10**7 else zipfile.ZIP_STORED
    )
    with zipfile.ZipFile(whole, "w", compression) as packed:
        for name, content in members.items():
            packed.writestr(zipfile.ZipInfo(name), content, compression)  # not the time of day: a seed fixes every byte
    return mutate_bytes(rng, whole.getvalue()) if rng.random() < 0.05 else whole.getvalue()


def _corrupted_pickle(rng: Random, content: bytes) -> bytes:
    """Change some opcodes of a pickle: delete, repeat, swap, mutate, or replace by a number, an opcode or a call."""
    opcodes = _opcodes(content)
    if rng.random() < 0.2:
        return b"".join([*opcodes[:-1], _flood(rng), b"0."])
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(opcodes))
        edit = rng.randrange(7)
        if edit == 0:
            del opcodes[at : at + rng.choice([1, 1, 30])]
        elif edit == 1:
            opcodes.insert(at, rng.choice(opcodes))
        elif edit == 2:
            other = rng.randrange(len(opcodes))
            opcodes[at], opcodes[other] = opcodes[other], opcodes[at]
        elif edit == 3:
            opcodes[at] = _number(rng)
        elif edit == 4:
            opcodes[at] = rng.choice(CALLS).removesuffix(b".")
        elif edit == 5:
            opcodes[at] = rng.choice(
                [b"h\xff", b"j\xff\xff\xff\x7f", b"r\xff\xff\xff\x7f", b"Q", b"R", b"b", b"0", b"(" * 9999]
            )
        else:
            opcodes[at] = mutate_bytes(rng, opcodes[at])
        opcodes = opcodes or [b"."]
    return b"".join(opcodes)


def _flood(rng: Random) -> bytes:
    """Return opcodes that leave one object, and that take minutes or gigabytes if nothing is limited."""
    kind, count = rng.choice([0, 0, 0, 1, 1, 1, 2, 3, 4]), rng.choice([100, 60_000, 60_000])
    if kind == 0:  # a dict whose keys have the same hash
        keys = [rng.choice([1, -1]) * i * SAME_HASH for i in range(count)]
        return b"}(" + b"".join(b"L%dL\nN" % key for key in keys) + b"u"
    if kind == 1:  # a memo of such indexes
        return b"N" + b"".join(b"p%d\n" % (i * SAME_HASH) for i in range(count))
    if kind == 2:
        return b"N" + rng.choice([b"N0", b"]0", b"\x94", b"\x85", b"2", b"(", b"]a"]) * FLOOD
    long = b"X" + (10**6).to_bytes(4, "little") + b"m" * 10**6 + b"\x940"  # repeated with two bytes
    if kind == 3:
        return long + b"]p9\n" + b"g0\ng0\n\x93a" * count
    return (
        b"N"
        + b"\x85" * 100_000
        + b"0}("
        + b"".join(b"G" + struct.pack(">d", i * 2.0**61) + b"N" for i in range(count))
        + b"u"
    )


def _number(rng: Random) -> bytes:
    value = rng.choice(NUMBERS)
    return rng.choice(
        [b"I%d\n" % value, b"L%dL\n" % value, b"X\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 7 + b"\x7f", b"N"]
    )


def _opcodes(content: bytes) -> list[bytes]:
    """Split a pickle into its opcodes with their arguments; bytes after STOP belong to the last."""
    offsets = [offset for _, _, offset in pickletools.genops(content)]
    return [content[a:b] for a, b in zip(offsets, [*offsets[1:], len(content)], strict=True)]


def run(folder: Path, case: dict[str, Any]) -> None:
    """Convert the checkpoint and load the result."""
    convert(folder / case["source"], folder / "converted", dtype=case["dtype"])
    BioGptForCausalLM.from_pretrained(folder / "converted")


TARGETS = (Target("archive", 6, make, run, lambda case: ("converted",)),) if find_spec("torch") else ()
