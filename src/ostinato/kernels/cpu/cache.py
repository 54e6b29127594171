"""Compiled kernels, kept in the user's cache directory: the next process loads what this one compiled.

Emitted source is a module that imports nothing; the names it uses are handed over beside it. It defines a function of
integers (sizes and addresses). That becomes a C function `void (int64 *)`, which finds the integers in its array: what
`team.together` runs, and what loads fastest, for Numba keeps machine code alone and no way in from Python.

An entry's name says all that its machine code depends on, as a hash: so nothing stale is ever found. The directory
belongs to the user alone, because what lies there is run. Where it cannot, kernels live in memory only.
"""

import ast
import hashlib
import os
import platform
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import llvmlite
import llvmlite.binding as llvm
import numba
from numba import types
from numba.core import config

from . import folder

_LOADED: dict[str, "Loaded"] = {}
_FOUND: dict[tuple[str, str], tuple[dict[str, Any], "Loaded"]] = {}  # (source, name) -> scope, kernel
_ENTRIES: dict[tuple[Any, int], "Loaded"] = {}
_WARNED: set[str] = set()
_LOCK = threading.RLock()


class Loaded(NamedTuple):
    """A compiled kernel."""

    address: int  # of a C function void (int64 *)
    source: str
    file: Path | None  # where the source lies; None in memory
    code: Any  # owns the machine code


def load(source: str, name: str, scope: Mapping[str, Any]) -> Loaded:
    """The function `name` of the source, compiled; from the cache where it has been compiled before.

    Args:
        source: a module's text that defines `name`, a plain function of int64 whose result is ignored. It cannot raise:
            a division by zero gives what NumPy gives. Its text is the kernel's identity: what it does not show, such as
            the dtype and lanes of the scope's functions, must stand in it as a comment or in the scope as text.
        scope: what the source's names mean: functions and intrinsics of Numba, types, numbers. No addresses: they would
            be frozen into machine code that outlives this process.

    Raises:
        ValueError: the source defines no such function.
    """
    # Every launch may ask: a known source costs one comparison, not a hash of all that the kernel depends on.
    known = _FOUND.get((source, name))
    if known is None or known[0] != scope:
        text = f"{source.rstrip()}\n\n\n{_entry_source(name, _arguments(source, name))}"
        known = _FOUND[source, name] = dict(scope), _load(text, name, scope)
    return known[1]


def entry(function: Any, count: int) -> Loaded:
    """A Numba function of `count` integers as a C function; what has an address already is given back.

    It is kept as any kernel is, the function's own machine code inside.
    """
    if hasattr(function, "address"):
        return function
    found = _ENTRIES.get((function, count))
    if found is None:
        found = _load(_entry_source("function", count), function.__name__, {"function": function})
        _ENTRIES[function, count] = found
    return found


def _arguments(source: str, name: str) -> int:
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return len(node.args.args)
    raise ValueError(f"the source must define the function {name!r}, and does not; name one that it defines")


def _entry_source(name: str, count: int) -> str:
    return f"def _entry(p):\n    {name}({', '.join(f'p[{i}]' for i in range(count))})\n"


def _load(text: str, name: str, scope: Mapping[str, Any]) -> Loaded:
    key = _key(text, name, scope)
    with _LOCK:
        if key not in _LOADED:
            _LOADED[key] = _from_disk(text, name, scope, key) or _compiled(text, name, scope, key, None)
        return _LOADED[key]


def _compiled(text: str, name: str, scope: Mapping[str, Any], key: str, file: Path | None) -> Loaded:
    """Runs the module and compiles its entry, or takes the machine code that lies beside the file."""
    module = ModuleType(f"ostinato_kernel_{key}")
    module.__dict__.update(scope)
    # Numba looks up the module of what it finds in its cache by this name.
    sys.modules[module.__name__] = module
    exec(compile(text, str(file) if file else f"<{name}-{key}>", "exec"), module.__dict__)
    function = module.__dict__.get(name)
    if isinstance(function, FunctionType):
        module.__dict__[name] = numba.njit(error_model="numpy")(function)
    kind = types.void(types.CPointer(types.int64))
    with _numba_keeps_in(file.parent if file else None):
        code = numba.cfunc(kind, cache=file is not None, error_model="numpy")(module.__dict__["_entry"])
    assert code.address
    return Loaded(code.address, text, file, code)


@contextmanager
def _numba_keeps_in(place: Path | None) -> Iterator[None]:
    """Machine code goes into our folder, whatever Numba was told: its own choice may not be the user's alone."""
    ours = {"CACHE_DIR": str(place or ""), "CACHE_LOCATOR_CLASSES": ""}
    before = {option: getattr(config, option, "") for option in ours}
    try:
        for option, value in ours.items():
            setattr(config, option, value)
        yield
    finally:
        for option, value in before.items():
            setattr(config, option, value)


def _from_disk(text: str, name: str, scope: Mapping[str, Any], key: str) -> Loaded | None:
    """The kernel by way of the cache directory; None, after a warning, where that cannot be used."""
    try:
        file = folder.private(folder.directory()) / f"{name}-{key}.py"
        new = folder.placed(file, text)
        machine_code = folder.beside(file)
        for path in machine_code:
            folder.must_be_ours(path)
        try:
            loaded = _compiled(text, name, scope, key, file)
        except Exception:
            if not machine_code:
                raise
            # A file that was torn, by a power cut say: reading it may raise anything.
            for path in machine_code:
                path.unlink(missing_ok=True)
            loaded = _compiled(text, name, scope, key, file)
        if new:
            folder.tidy(file)
        return loaded
    except OSError as error:
        _warn(str(error))
        return None


def _warn(why: str) -> None:
    if why not in _WARNED:
        _WARNED.add(why)
        advice = "set OSTINATO_CACHE to a folder of your own"
        warnings.warn(f"each process compiles its kernels anew: {why}; {advice}", RuntimeWarning, stacklevel=5)


def _key(text: str, name: str, scope: Mapping[str, Any]) -> str:
    meanings = (f"{word}={_meaning(scope[word])}" for word in sorted(scope))
    said = (text, name, *meanings, os.environ.get("OSTINATO_LANES", ""), *_ground())
    return hashlib.sha256("\0".join(said).encode()).hexdigest()[:32]


def _meaning(value: Any) -> str:
    """A name of the scope, the same in each process; of a function, the text of its file too."""
    if isinstance(value, ModuleType):
        return value.__name__
    function = getattr(value, "py_func", value)
    name = getattr(function, "__qualname__", None)
    return f"{function.__module__}.{name} {_text_of(function.__module__)}" if name else repr(value)


@cache
def _text_of(module: str) -> str:
    file = getattr(sys.modules.get(module), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else ""


@cache
def _ground() -> tuple[str, ...]:
    """What all kernels depend on: versions, how this package makes kernels, the processor, Numba's options."""
    own = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        own.update(file.read_bytes())
    options = (str(getattr(config, option, "")) for option in ("OPT", "CPU_NAME", "CPU_FEATURES"))
    versions = (metadata.version("ostinato"), numba.__version__, llvmlite.__version__, platform.python_version())
    processor = (platform.machine(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
    return (own.hexdigest(), *versions, platform.python_implementation(), *processor, *options)


def _after_fork() -> None:
    global _LOCK
    _LOCK = threading.RLock()  # a thread that the child does not have may hold the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
