"""The laws, one function each: it returns nothing, or raises an AssertionError that names the law and the error."""

import warnings
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from .. import kernels, tree
from .cases import STEPS, Case, gradients, same
from .parity import compare

LENGTHS = (7, 4, 1, 0)
RESETS = ((0, 3), (1, 0), (1, 2), (1, 5), (3, 4))  # (row, step)


def law_step_is_scan(case: Case) -> None:
    """Reading step by step is reading at once."""
    y, after = case.part(case.x, case.state)
    ys, state = [], case.state
    for t in range(STEPS):
        out, state = case.part.step(case.x[:, t], state)
        ys.append(out)
    same(case, "step is scan", y=(torch.stack(ys, dim=1), y), state=(state, after))


def law_split_is_whole(case: Case) -> None:
    """Reading in two chunks, the state carried over, is reading at once."""
    y, after = case.part(case.x, case.state)
    for k in (1, 4):
        first, state = case.part(case.x[:, :k], case.state)
        second, state = case.part(case.x[:, k:], state)
        same(case, "split is whole", y=(torch.cat([first, second], dim=1), y), state=(state, after))


def law_padding_changes_nothing(case: Case) -> None:
    """A padded row is the row alone: output, zeros after it, final state, gradients; whatever fills the padding."""
    lengths = torch.tensor(LENGTHS)
    real = (torch.arange(STEPS) < lengths[:, None]).view(4, STEPS, *[1] * (case.x.ndim - 2))
    for fill in (1.0, 1e30, float("nan")) if case.ids is None else (0, case.ids - 1):
        x = torch.where(real, case.x, fill)
        y, after = case.part(x, case.state, lengths)
        for b, n in enumerate(LENGTHS):
            alone = tree.select(case.state, torch.tensor([b]))
            end = alone
            if n:
                want, end = case.part(case.x[b : b + 1, :n], alone)
                same(case, f"padding with {fill} changes nothing", y=(y[b : b + 1, :n], want))
            same(case, "past its length a row's output is zero", y=(y[b, n:], torch.zeros_like(y[b, n:])))
            here = tree.select(after, torch.tensor([b]))
            same(case, f"padding with {fill} keeps the state of the last real step", state=(here, end))
    noise = case.x.flip(1) * 9 + 1 if case.ids is None else case.ids - 1 - case.x
    x = torch.where(real, case.x, noise)
    got, want = (gradients(case.part, z, case.state, lengths=lengths)[1] for z in (x, case.x))
    same(case, "gradients ignore the padding", gradient=(got, want))


def law_a_reset_begins_a_sequence(case: Case) -> None:
    """A row cut by resets is several sequences, each from the initial state; a reset past the length is none."""
    resets = torch.zeros(case.x.shape[:2], dtype=torch.bool)
    for b, t in RESETS:
        resets[b, t] = True
    ends = [7, 6, 4, 5]
    for lengths in (None, torch.tensor(ends)):
        y, after = case.part(case.x, case.state, lengths, resets)
        for b, n in enumerate([STEPS] * 4 if lengths is None else ends):
            cuts = [0, *(t for row, t in RESETS if row == b and 0 < t < n), n]
            state = tree.select(case.part.initial_state(4) if resets[b, 0] else case.state, torch.tensor([b]))
            last = state
            for start, end in pairwise(cuts):
                want, last = case.part(case.x[b : b + 1, start:end], state)
                same(case, "a reset begins a sequence", y=(y[b : b + 1, start:end], want))
                state = case.part.initial_state(1)
            here = tree.select(after, torch.tensor([b]))
            same(case, "after a reset the state is that of the last sequence", state=(here, last))


def law_causality(case: Case) -> None:
    """No output depends on a later input."""
    y, _ = case.part(case.x, case.state)
    for k in (1, 5):
        later = case.x[:, k:] + 1
        x = torch.cat([case.x[:, :k], later if case.ids is None else later % case.ids], dim=1)
        same(case, "causality", y=(case.part(x, case.state)[0][:, :k], y[:, :k]))


def law_size_is_constant(case: Case) -> None:
    """The state after any number of steps has the shapes and dtypes of the initial one, rows first."""
    for rows in (1, 4):
        want = [(leaf.shape, leaf.dtype) for leaf in tree.leaves(case.part.initial_state(rows))]
        assert all(shape[:1] == (rows,) for shape, _ in want), f"law 'rows first': leaves of shape {want}"
        for t in (1, STEPS):
            got = [(leaf.shape, leaf.dtype) for leaf in tree.leaves(case.part(case.x[:rows, :t])[1])]
            assert got == want, f"law 'size is constant': the state began as {want} and is {got} after {t} steps"


def law_rows_are_independent(case: Case) -> None:
    """Rows picked in another order give those rows' outputs, whoever else is in the batch."""
    y, after = case.part(case.x, case.state)
    for rows in (torch.tensor([2, 0, 3, 1]), torch.tensor([3, 1]), torch.tensor([2])):
        got, state = case.part(case.x[rows], tree.select(case.state, rows))
        same(case, "rows are independent", y=(got, y[rows]), state=(state, tree.select(after, rows)))


def law_nothing_is_mutated(case: Case) -> None:
    """Reading changes neither its inputs nor the part: parameters and buffers stay."""
    given = {"x": case.x, "state": case.state, "lengths": torch.tensor(LENGTHS), "resets": case.x.new_zeros(4, 7) > 0}
    held = [given, dict(case.part.state_dict(keep_vars=True))]
    before = tree.map(lambda leaf: leaf.detach().clone(), held)
    gradients(case.part, given["x"], given["state"], lengths=given["lengths"])
    case.part(given["x"], given["state"], given["lengths"], given["resets"])
    for new, old in zip(tree.leaves(held), tree.leaves(before), strict=True):
        assert torch.equal(new, old), f"law 'nothing is mutated': a tensor of shape {list(old.shape)} has changed"


def law_kernels_equal_the_walk(case: Case) -> None:
    """Each backend that takes the part gives the reference loop's outputs, state and gradients."""
    for row in compare(case.part, case.x.shape[-1], case.ids, case.dtype):
        assert row["ok"], f"law 'kernels equal the walk' is broken by {type(case.part).__name__}: {row}"


def law_torch_func(case: Case) -> None:
    """vmap is a loop, jvp is jacrev times the vector, the gradient has a derivative: on the reference."""
    state = tree.select(case.state, torch.arange(2))
    params = {name: p.detach() for name, p in case.part.named_parameters()}
    name, u = ("x", case.x[:2, :3]) if case.ids is None else next(iter(params.items()))

    def f(u: Tensor) -> Tensor:
        x, rest = (u, params) if name == "x" else (case.x[:2, :3], {**params, name: u})
        return torch.func.functional_call(case.part, rest, (x, state))[0]

    def energy(u: Tensor) -> Tensor:
        return f(u).square().sum()

    with kernels.backend(kernels.REFERENCE), warnings.catch_warnings():
        # torch's own table of forward derivatives is still made with torch.jit.
        warnings.filterwarnings("ignore", message="`torch.jit.script`", category=DeprecationWarning)
        v = torch.linspace(-1, 1, u.numel(), dtype=u.dtype).view_as(u)
        many = torch.stack([u, v, u + v])
        same(case, "vmap is a loop", y=(torch.func.vmap(f)(many), torch.stack([f(m) for m in many])))
        y, slope, *_ = torch.func.jvp(f, (u,), (v,))
        product = (torch.func.jacrev(f)(u).flatten(y.ndim) @ v.flatten()).view_as(slope)
        same(case, "jvp is jacrev times v", y=(y, f(u)), slope=(slope, product))
        leaf = u.clone().requires_grad_()
        (first,) = torch.autograd.grad(energy(leaf), leaf, create_graph=True)
        second = torch.autograd.grad((first * v).sum(), leaf, materialize_grads=True)[0]
        _, want, *_ = torch.func.jvp(torch.func.grad(energy), (u,), (v,))
        same(case, "double backward", gradient=(second, want))


def law_exported_step_is_step(case: Case) -> None:
    """`torch.export` of the step gives the step."""

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = case.part

        def forward(self, x: Tensor, *leaves: Tensor) -> list[Tensor]:
            y, state = self.part.step(x, tree.like(case.state, leaves))
            return [y, *tree.leaves(state)]

    call = (case.x[:, 0], *tree.leaves(case.state))
    with torch.no_grad():
        exported = torch.export.export(Step(), call, strict=False).module()
        same(case, "the exported step is the step", y=(exported(*call), Step()(*call)))


LAWS: tuple[Callable[[Case], None], ...] = (
    law_step_is_scan,
    law_split_is_whole,
    law_padding_changes_nothing,
    law_a_reset_begins_a_sequence,
    law_causality,
    law_size_is_constant,
    law_rows_are_independent,
    law_nothing_is_mutated,
    law_kernels_equal_the_walk,
    law_torch_func,
    law_exported_step_is_step,
)
