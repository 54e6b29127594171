"""From the text of a kernel to object code: Numba makes LLVM's language of it, and LLVM an object."""

from collections.abc import Mapping
from types import FunctionType
from typing import Any

import llvmlite.binding as llvm
import numba
from numba import types
from numba.core import config
from numba.core.registry import cpu_target

from .object_code import ENTRY, Object

JOB = types.void(types.CPointer(types.int64))


def compiled(text: str, name: str, names: Mapping[str, Any], title: str) -> Object:
    """The object of a text's `_entry`, a C function of the names' `signature`, or else `void (int64 *)`."""
    module = {**names, "__name__": title}
    exec(compile(text, f"<{title}>", "exec"), module)
    function = module.get(name)
    if isinstance(function, FunctionType) and function.__globals__ is module:
        module[name] = numba.njit(error_model="numpy")(function)
    return _object(numba.cfunc(names.get("signature", JOB), error_model="numpy")(module["_entry"]))


def _object(function: Any) -> Object:
    """The object of a C function of Numba's, with nothing in it that Numba would have to be there for."""
    module = llvm.parse_assembly(function.inspect_llvm())
    native = function.native_name.removeprefix("cfunc.")
    # Numba's own way in would tell Python of an exception. Kernels raise none.
    module.link_in(llvm.parse_assembly(_entry(module, native)))
    for made in module.functions:
        if not made.is_declaration and made.name != ENTRY:
            made.linkage = llvm.Linkage.internal
    machine = _target_machine()
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    outside = [f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")]
    outside += [g.name for g in module.global_variables if g.is_declaration]
    return Object(machine.emit_object(module), tuple(sorted(outside)))


def _entry(module: llvm.ModuleRef, native: str) -> str:
    """The C function ENTRY, in LLVM's language: it calls what Numba made, `i32 (result *, exception **, ...)`."""
    kinds = [str(a.type) for a in module.get_function(native).arguments]
    given = ", ".join(f"{kind} %a{i}" for i, kind in enumerate(kinds[2:]))
    return f"""
target triple = "{module.triple}"
target datalayout = "{module.data_layout}"
declare i32 @"{native}"({", ".join(kinds)})
define void @{ENTRY}({given}) {{
  %result = alloca ptr
  %exception = alloca ptr
  %status = call i32 @"{native}"(ptr %result, ptr %exception, {given})
  ret void
}}
"""


def _target_machine() -> llvm.TargetMachine:
    """Makes the machine code that Numba would run."""
    target: Any = cpu_target.target_context
    options: Any = config
    triple, processor, features = target.codegen().magic_tuple()
    fixed = llvm.Target.from_default_triple().name.startswith("x86")
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=processor, features=features, opt=int(options.OPT), reloc="static" if fixed else "default",
        codemodel="jitdefault", jit=True,
    )  # fmt: skip
