"""Which peers are installed. None is needed: one that is absent is left out, and one line says so."""

from importlib import metadata
from importlib.util import find_spec

JAX, ORT, OPENVINO, MAMBA = "JAX", "ONNX Runtime", "OpenVINO", "mambapy"
MODULES = {
    JAX: ("jax", "flax"), ORT: ("onnxruntime", "onnx"), OPENVINO: ("openvino", "onnx"), MAMBA: ("mambapy",),
}  # fmt: skip


def installed(*names: str) -> list[str]:
    """Those of the names that can be imported; prints a line for each of the others."""
    found = []
    for name in names:
        absent = [module for module in MODULES[name] if find_spec(module) is None]
        if absent:
            print(f"skipped: {name} is not installed (pip install -e '.[bench]')", flush=True)
        else:
            found.append(name)
    return found


def versions() -> dict[str, str]:
    """Of all the modules that are installed."""
    modules = dict.fromkeys(module for group in MODULES.values() for module in group)
    return {module: metadata.version(module) for module in modules if find_spec(module)}
