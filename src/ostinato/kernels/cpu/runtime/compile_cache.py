"""Compiled kernels, kept in the user's cache directory: the next process loads what this one compiled.

Emitted source is a module that imports nothing; what its names mean a `Scope` says. It defines a function of integers
(sizes and addresses). That becomes a C function `void (int64 *)`, which finds the integers in its array: what
`thread_team.parallel_for` runs.

What is kept is object code, which LLVM alone brings back to life: Numba takes longer to import than most cells take to
run, and is imported where something is compiled.

An entry's name says all that its machine code depends on, as a hash: so nothing stale is ever found. The directory
belongs to the user alone, because what lies there is run. Where it cannot, kernels live in memory only.
"""

import hashlib
import importlib
import os
import platform
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata, util
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import llvmlite
import llvmlite.binding as llvm

from . import cache_dir, object_code
from .pristine_builtins import own_functions

PACKAGE = __name__.rsplit(".", 2)[0]  # of all that machine code is made of
NAMES = f"{PACKAGE}.simd.names"  # the module that gives names to this package's kernels
_LOADED: dict[str, "Loaded"] = {}
_BY_SOURCE: dict[tuple[str, str, "Scope"], "Loaded"] = {}
_WARNED: set[str] = set()
_SET = {"OPT": "3", "CPU_NAME": "None", "CPU_FEATURES": "None"}  # options of Numba's that a program may set
_GIVEN = ("ENABLE_AVX", "LOOP_VECTORIZE", "SLP_VECTORIZE", "DISABLE_INTEL_SVML")  # ... or whoever starts it
_LOCK = threading.RLock()


class Loaded(NamedTuple):
    """A compiled kernel."""

    address: int  # of a C function void (int64 *)
    source: str
    file: Path | None  # where the source lies; None in memory
    code: Any  # owns the machine code
    kept: bool  # whether the machine code was found, and not made


class Scope(NamedTuple):
    """What the names in a source mean: `module.function(*arguments)` gives them, where something is compiled.

    They are functions and intrinsics of Numba, types, numbers. No addresses: they would be frozen into machine code
    that outlives this process. The function's module, and another one that it uses, are part of a kernel's identity
    with their text; the arguments are part of it as they print.
    """

    module: str
    function: str
    arguments: tuple[Any, ...] = ()
    other: str = __name__

    def names(self) -> Mapping[str, Any]:
        return getattr(importlib.import_module(self.module), self.function)(*self.arguments)


def load(source: str, name: str, scope: Scope) -> Loaded:
    """The function `name` of the source, compiled; from the cache where it has been compiled before.

    Args:
        source: a module's text that defines `name`, a plain function of int64 whose result is ignored. It cannot raise:
            a division by zero gives what NumPy gives.
        scope: what the source's names mean.

    Raises:
        ValueError: the source defines no such function.
    """
    # Every launch may ask: a known source costs one comparison, not a hash of all that the kernel depends on.
    known = _BY_SOURCE.get((source, name, scope))
    if known is None:
        with _LOCK:
            text = f"{source.rstrip()}\n\n\n{_entry_source(name, _arguments(source, name))}"
            known = _BY_SOURCE[source, name, scope] = load_text(text, name, scope)
    return known


def entry(function: Any, count: int) -> Loaded:
    """A Numba function of `count` integers, found in its module by its name, as a C function.

    What has an address already is given back.
    """
    if hasattr(function, "address"):
        return function
    module, name = function.__module__, function.__name__
    scope = Scope(NAMES, "function", (module, name), module)
    text = _entry_source(name, count)
    known = _BY_SOURCE.get((text, name, scope))
    if known is None:
        known = _BY_SOURCE[text, name, scope] = load_text(text, name, scope)
    return known


def _arguments(source: str, name: str) -> int:
    # Python's compiler, and not `ast.parse`: in CPython 3.11 that fails where two threads are in it.
    for constant in compile(source, f"<{name}>", "exec").co_consts:
        if isinstance(constant, CodeType) and constant.co_name == name:
            return constant.co_argcount
    raise ValueError(f"the source must define the function {name!r}, and does not; name one that it defines")


def _entry_source(name: str, count: int) -> str:
    return f"def _entry(p):\n    {name}({', '.join(f'p[{i}]' for i in range(count))})\n"


def load_text(text: str, name: str, scope: Scope) -> Loaded:
    """The C function that a text defines as `_entry`; see numba_compiler.py."""
    key = _key(text, name, scope)
    with _LOCK:
        if key not in _LOADED:
            _LOADED[key] = _from_disk(text, name, scope, key) or _compiled(text, name, scope, key, None)
        return _LOADED[key]


def _compiled(text: str, name: str, scope: Scope, key: str, file: Path | None) -> Loaded:
    """The kernel, made anew, and kept beside the file."""
    with own_functions():
        from .numba_compiler import compiled

        machine_code = compiled(text, name, scope.names(), f"{name}-{key}")
    if file:
        object_code.write(cache_dir.beside(file), machine_code, text)
        cache_dir.tidy(file)
    alive = object_code.alive(machine_code)
    assert alive, f"this process lacks one of {', '.join(machine_code.calls)}"
    return Loaded(alive.address, text, file, alive.engine, False)


def _from_disk(text: str, name: str, scope: Scope, key: str) -> Loaded | None:
    """The kernel by way of the cache directory; None, after a warning, where that cannot be used."""
    try:
        file = cache_dir.private(cache_dir.directory()) / f"{name}-{key}.py"
        cache_dir.placed(file, text)
        return _kept(text, file) or _compiled(text, name, scope, key, file)
    except OSError as error:
        _warn(str(error))
        return None


def _kept(text: str, file: Path) -> Loaded | None:
    """The kernel whose machine code lies beside the file; None where there is none that is whole and its own."""
    code = cache_dir.beside(file)
    if not (code.is_symlink() or code.exists()):
        return None
    cache_dir.must_be_ours(code)
    machine_code = object_code.read(code, text)
    alive = machine_code and object_code.alive(machine_code)
    return Loaded(alive.address, text, file, alive.engine, True) if alive else None


def _warn(why: str) -> None:
    if why not in _WARNED:
        _WARNED.add(why)
        advice = "set OSTINATO_CACHE to a folder of your own"
        warnings.warn(f"each process compiles its kernels anew: {why}; {advice}", RuntimeWarning, stacklevel=5)


def _key(text: str, name: str, scope: Scope) -> str:
    names = (scope.module, scope.function, repr(scope.arguments), _text_of(scope.module), _text_of(scope.other))
    parts = (text, name, *names, os.environ.get("OSTINATO_LANES", ""), *_ground())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@cache
def _text_of(module: str) -> str:
    if module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
    else:
        spec = util.find_spec(module)
        file = spec and spec.origin
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else ""


@cache
def _ground() -> tuple[str, ...]:
    """What all kernels depend on: versions, how this package makes kernels, the processor, Numba's options."""
    own = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        own.update(file.read_bytes())
    versions = (*map(metadata.version, ("ostinato", "numba")), llvmlite.__version__, platform.python_version())
    processor = (platform.machine(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
    target = (platform.python_implementation(), llvm.get_process_triple())
    return (own.hexdigest(), *versions, *target, *processor, *_options())


def _options() -> Iterator[str]:
    """Numba's options that change machine code: as its configuration has them, or will have them."""
    config = sys.modules.get("numba.core.config")
    for option, default in _SET.items():
        value = getattr(config, option, default) if config else os.environ.get(f"NUMBA_{option}", default)
        yield str(getattr(value, "_raw_value", value))  # of OPT, whose text is none that the environment gives
    yield from (os.environ.get(f"NUMBA_{option}", "") for option in _GIVEN)
    file = Path(".numba_config.yaml")
    yield file.read_text() if file.is_file() else ""


def _after_fork() -> None:
    global _LOCK
    _LOCK = threading.RLock()  # a thread that the child does not have may hold the parent's


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
