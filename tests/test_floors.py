"""Imports go down only; neighbours on one floor do not import each other. Read from the source, functions included."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "ostinato"
FLOORS = [
    {"_torch"},
    {"tree", "matching", "registry", "storage", "twin"},
    {"data", "arguments"},
    {"kernels", "train", "metrics"},
    {"recurrence", "pure_step"},
    {"recurrent", "recurrences"},
    {"cells", "layers", "initialise", "baselines", "dynamics", "stream", "export", "report", "testing"},
    {"blocks", "models", "serve", "nn"},
    {"tasks"},
    {"console"},
    {"facts", "pipes"},
    {"cli"},
    {"__main__"},
]
KERNELS = [
    {"table"},
    {"ir"},
    {"trace"},
    {"lower"},
    {"passes"},
    {"build"},
    {"render"},
    {"compiler"},
    {"scan"},
    {"torch", "cpu", "triton"},
    {"dispatch"},
    {"loss", "chance"},
]
FILES = sorted(p.relative_to(ROOT) for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def imports(file):
    """The modules of this package that a file imports, as paths below ROOT: ("kernels", "table")."""
    package = ("ostinato", *file.with_suffix("").parts)[:-1]  # of `from . import`; an __init__ is its package
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = (*start, *(node.module or "").split("."))
            found = [module] if node.module else [(*start, name.name) for name in node.names]
        elif isinstance(node, ast.Import):
            found = [tuple(name.name.split(".")) for name in node.names]
        else:
            continue
        for module in found:
            if module[0] == "ostinato":
                yield tuple(part for part in module[1:] if part)


def unit(path, floors, where):
    number = next((n for n, names in enumerate(floors, start=1) if path in names), None)
    assert number, f"{where}: {path!r} stands on no floor; name one in tests/test_floors.py"
    return number


def breaks(file):
    own = file.with_suffix("").parts
    for target in imports(file):
        assert target, f"{file}: imports ostinato itself; import the module that has the name"
        below, floors = (0, FLOORS) if target[0] != own[0] else (1, KERNELS)
        if below and (own[0] != "kernels" or own[1] == "__init__" or len(target) == 1 or target[1] == own[1]):
            continue
        if unit(target[below], floors, file) >= unit(own[below], floors, file):
            yield f"{file} imports {'.'.join(target)}, which is not below it"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_go_down(file):
    unit(file.with_suffix("").parts[0], FLOORS, file)
    assert list(breaks(file)) == []


def test_an_import_upwards_is_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    for folder in ("cells", "layers", "kernels/torch"):
        (tmp_path / folder).mkdir(parents=True)
    wrong = {
        "cells/a.py": "from ..layers import Stack",
        "layers/a.py": "def f():\n    from ostinato.models import language",
        "recurrent.py": "from . import tree, initialise",
        "kernels/table.py": "from .torch.aten import gru",
        "kernels/torch/a.py": "import ostinato.kernels.dispatch",
    }
    right = {
        "cells/b.py": "from ..recurrent import Cell\nfrom .a import x\nimport torch.nn",
        "kernels/torch/b.py": "from ..table import Affine\nfrom .a import x",
        "kernels/dispatch.py": "from .torch import aten\nfrom ..registry import near",
    }
    for path, text in {**wrong, **right}.items():
        (tmp_path / path).write_text(text)
    assert [path for path in {**wrong, **right} if list(breaks(Path(path)))] == list(wrong)
