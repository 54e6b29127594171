"""The derived kernels inside torch.export. Oracle: the reference walk in float64."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from graphs import MARKS, PARTS, X, assert_the_same, ours
from torch import Tensor, nn
from torch.export import Dim

from ostinato import kernels, tree
from ostinato.cells import LSTM
from ostinato.kernels import dispatch


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preference that users have."""
    monkeypatch.setitem(dispatch.PREFERENCE, "cpu", ("numba", "aten"))
    torch.manual_seed(0)


class Flat(nn.Module):
    def __init__(self, part: Any) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor, lengths: Tensor | None = None, resets: Tensor | None = None) -> list[Tensor]:
        y, state = self.part(x, None, lengths, resets)
        return [y, *tree.leaves(state)]


@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "ragged"])
@pytest.mark.parametrize("name", PARTS)
def test_one_exported_program_reads_any_batch_and_any_number_of_steps(name: str, ragged: bool) -> None:
    part = PARTS[name]().double().eval()
    part_x = X.double()
    batch, steps = Dim("B"), Dim("T")
    call = (part_x, *MARKS.values()) if ragged else (part_x,)
    shapes: Any = {"x": {0: batch, 1: steps}}
    if ragged:
        shapes |= {"lengths": {0: batch}, "resets": {0: batch, 1: steps}}
    program = torch.export.export(Flat(part), call, dynamic_shapes=shapes, strict=False)
    assert ours(program.graph) == ["scan"] * (4 if name == "deep" else 1)
    for rows, count in ((3, 6), (7, 11), (1, 5), (4, 1)):
        x = torch.randn(rows, count, 4, dtype=torch.float64)
        marks = (torch.randint(0, count + 1, (rows,)), torch.rand(rows, count) < 0.3) if ragged else ()
        got = program.module()(x, *marks)
        with kernels.backend("reference"):
            assert_the_same(got, Flat(part)(x, *marks), 1e-12)


def test_an_exported_program_learns() -> None:
    part = LSTM(4, 5).double()
    program = torch.export.export(Flat(part), (X.double(),), strict=False).module()
    x = X.double().requires_grad_()
    got = torch.autograd.grad(program(x)[0].square().sum(), [x, *program.parameters()])
    with kernels.backend("reference"):
        want = torch.autograd.grad(part(x)[0].square().sum(), [x, *part.parameters()])
    names = [name.removeprefix("part.") for name, _ in program.named_parameters()]
    order = [names.index(name) for name, _ in part.named_parameters()]
    assert_the_same([got[0], *(got[1 + i] for i in order)], list(want), 1e-12)


SAVES = """
import sys, torch
from ostinato.cells import MGU
torch.manual_seed(0)
class First(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = MGU(4, 5)
    def forward(self, x):
        return self.cell(x)[0]
program = torch.export.export(First(), (torch.ones(3, 6, 4),), strict=False)
torch.export.save(program, sys.argv[1])
"""
LOADS = """
import sys, torch
from ostinato.cells import MGU
program = torch.export.load(sys.argv[1]).module()
try:
    program(torch.ones(3, 6, 4))
except RuntimeError as error:
    print(error)
torch.manual_seed(0)
cell, x = MGU(4, 5), torch.ones(3, 6, 4)
cell.explain(x)
print(float((program(x) - cell(x)[0]).abs().max()))
"""


def test_a_program_runs_in_another_process_once_the_cell_is_derived_there(tmp_path: Path) -> None:
    texts = []
    for script in (SAVES, LOADS):
        command = [
            sys.executable,
            "-c",
            f"import ostinato.kernels.scan.operators\n{script}",
            str(tmp_path / "cell.pt2"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        texts.append(done.stdout.strip())
    told, gap = texts[1].splitlines()
    assert re.match(r"the kernel 'mgu-float32-[0-9a-f]{16}' was not derived in this process; .* `explain` once$", told)
    assert float(gap) < 1e-6
