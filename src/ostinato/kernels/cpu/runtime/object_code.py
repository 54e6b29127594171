"""Object code: what LLVM makes of a kernel, written into a file and brought back to life, without a compiler.

A file is the object itself, which other tools can read, and behind it a line: what it calls, and a hash of all this, of
the file's name and of the source: so an object under another kernel's name, which would run, is none.
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import llvmlite.binding as llvm

from ....storage import atomic_write

ENTRY = "kernel"  # the C function that an object is about
_MOST = 64 << 20  # bytes of a file: no kernel is a hundredth of it
# LLVM may call the C library where the source does not.
_ALWAYS = ("exp", "memcpy")


class Object(NamedTuple):
    """Relocatable machine code."""

    code: bytes
    calls: tuple[str, ...]  # functions that it expects in the process


class Alive(NamedTuple):
    """An object that can be called."""

    address: int  # of its ENTRY
    engine: llvm.ExecutionEngine  # owns the memory


def engine(assembly: str = "") -> llvm.ExecutionEngine:
    """A compiler of LLVM's for this process, which holds the functions of the assembly."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    return llvm.create_mcjit_compiler(llvm.parse_assembly(assembly), machine)


def alive(given: Object) -> Alive | None:
    """The object, ready to be called; None where this process lacks a function that it calls."""
    # One for each object: in all of them the entry has the same name.
    own = engine()
    # LLVM ends the process where it misses one.
    if any(llvm.address_of_symbol(name) is None for name in (*given.calls, *_ALWAYS)):
        return None
    own.add_object_file(llvm.ObjectFileRef.from_data(given.code))
    own.finalize_object()
    address = own.get_function_address(ENTRY)
    return Alive(address, own) if address else None


def write(file: Path, given: Object, source: str) -> None:
    """Writes the object made of the source, a text.

    Raises:
        OSError: it cannot be written.
    """
    end = {"calls": given.calls, "sha256": _hash(given, file, source)}
    atomic_write(file, given.code + b"\n" + json.dumps(end).encode())


def read(file: Path, source: str) -> Object | None:
    """The object in the file; None where it is not what once was written under this name, made of this source.

    Raises:
        OSError: the file cannot be read.
    """
    if file.stat().st_size > _MOST:
        return None
    code, _, end = file.read_bytes().rpartition(b"\n")
    try:
        line = json.loads(end)
        machine_code = Object(code, tuple(line["calls"]))
        return machine_code if line["sha256"] == _hash(machine_code, file, source) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _hash(given: Object, file: Path, source: str) -> str:
    words = (file.stem, hashlib.sha256(source.encode()).hexdigest(), *given.calls)
    return hashlib.sha256("\0".join(words).encode() + b"\0" + given.code).hexdigest()
