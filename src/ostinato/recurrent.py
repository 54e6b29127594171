"""What every part that reads a sequence is: (x, state) -> (y, state)."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from . import tree
from .arguments import kind_of, must_mark
from .matching import matched
from .recurrence import Call, Recurrence, Step

S = TypeVar("S")
Role = Literal["input", "recurrent", "output", "bias"]  # of a cell's parameter

_ROLES: dict[str, Role] = {"w_in": "input", "w_rec": "recurrent", "w_out": "output", "b_": "bias", "bias": "bias"}


class Layer(nn.Module, ABC):
    """Reads a whole sequence; may look ahead (Bidirectional), and then cannot stream."""

    @abstractmethod
    def initial_state(self, batch: int) -> Any:
        """The state before the first step; every leaf [batch, ...]."""

    @abstractmethod
    def scan(self, x: Tensor, state: Any, lengths: Tensor | None, resets: Tensor | None) -> tuple[Tensor, Any]:
        """All steps of x [B, T, ...] from `state`."""

    def forward(
        self, x: Tensor, state: Any = None, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """Reads x and gives (y, the state after it).

        Args:
            x: [B, T, D] floating, or token ids [B, T] int64.
            state: before the first step; None: `initial_state`.
            lengths: [B] int64 in 0..T, right padding. What stands past a row's length changes nothing.
            resets: [B, T] bool: a new sequence begins at that step.

        Raises:
            ValueError: a shape or dtype does not fit; the message says what was expected.
        """
        _check(x, lengths, resets)
        if state is not None and not torch.compiler.is_compiling():
            state = self._checked(state)
        # Zeros, so that whatever fills the padding (NaN too) gets no weight in a sum of gradients.
        x = tree.masked(x, lengths)
        return self.scan(x, self.initial_state(x.shape[0]) if state is None else state, lengths, resets)

    def _checked(self, state: Any) -> Any:
        """A state, its leaves in this layer's order. Raises ValueError where it is not built as this layer's."""
        own = self.initial_state(1)
        kind = type(own)
        if type(state) is not kind:
            fields = f"({', '.join(kind._fields)})" if hasattr(kind, "_fields") else ""  # type: ignore[attr-defined]
            raise ValueError(
                f"the state of this {type(self).__name__} is a {kind.__name__}{fields}, as `initial_state` and each "
                f"call give it, and came as a {type(state).__name__}"
            )
        return matched(state, own, "the state", f"the initial one of this {type(self).__name__}")

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One time step of x [B, D] or ids [B]: a sequence of length one.

        Raises:
            TypeError: this layer, or one inside it, reads the whole sequence.
            ValueError: x has no row for each sequence.
        """
        must_stream(self)
        if x.ndim == 0 or (x.ndim == 1 and x.is_floating_point()):
            raise ValueError(
                f"x must be [B, D], or ids [B] int64, and is {kind_of(x)}; for one sequence write x.unsqueeze(0)"
            )
        y, state = self.scan(x.unsqueeze(1), state, None, None)
        return y.squeeze(1), state


class Recurrent(Layer, Generic[S]):
    """A layer that reads in order, holding only a state of constant size: so it streams.

    Write `initial_state` and `scan`; `forward` and `step` follow.
    """

    @abstractmethod
    def initial_state(self, batch: int) -> S: ...

    @abstractmethod
    def scan(self, x: Tensor, state: S, lengths: Tensor | None, resets: Tensor | None) -> tuple[Tensor, S]: ...


class _Required:
    """Stands where a cell must give its recurrence. No property: the cell's own may be a plain attribute or one."""

    def __get__(self, cell: Any, kind: type) -> Recurrence:
        # Of an instance no AttributeError: nn.Module would put words of its own in place of these.
        raise (AttributeError if cell is None else TypeError)(
            f"{kind.__name__} has no recurrence; write `recurrence = Recurrence(name, update, gates)` in the class, "
            "or set self.recurrence in __init__"
        )


class Cell(Recurrent[S]):
    """A recurrent leaf: parameters around one recurrence.

    Write `recurrence`, `initial_state` and `drive`; `weights` and `emit` where there are such. What initialisers must
    know, `gate_blocks`, `forget_block` and `roles`, changes no output.

    Attributes:
        recurrence: the step, given by each cell: in the class, on the instance, or as a property.
        gate_blocks: how many gates are stacked in the rows of `w_in` and `w_rec`; None: not said, and a matrix that
            looks stacked is refused by initialisers that would take it for one.
        forget_block: which of the blocks of `w_in.bias` is the forget gate's, counted from 0; None: there is none.
    """

    recurrence = _Required()
    gate_blocks: ClassVar[int | None] = None
    forget_block: ClassVar[int | None] = None

    @abstractmethod
    def drive(self, x: Tensor) -> Any:
        """All that depends on the input alone, for all steps at once: a tree of [B, T, ...] and of `Affine`s."""

    def weights(self) -> tuple[Tensor, ...]:
        """What `recurrence.gates` gets after the state, as parameters of this module."""
        return ()

    def roles(self) -> dict[str, Role]:
        """What parameters are for, by their names as in `named_parameters`; initialisers go by it.

        Unless a cell says otherwise, names tell: `w_in*` is input, `w_rec*` recurrent, `w_out*` output, `b_*` and
        `bias` are biases, and so is the `bias` of a module under one of these names, as `w_in.bias`. What is called
        otherwise has no role, and no initialiser touches it.
        """
        roles: dict[str, Role] = {}
        for name, _ in self.named_parameters():
            for start, role in _ROLES.items():
                if name.startswith(start):
                    roles[name] = "bias" if name.endswith(".bias") else role
        return roles

    def emit(self, out: Tensor, x: Tensor) -> Tensor:
        """The readout of all steps at once, [B, T, ...] -> [B, T, D']."""
        return out

    def scan(self, x: Tensor, state: S, lengths: Tensor | None, resets: Tensor | None) -> tuple[Tensor, S]:
        call = self.call(x, state, lengths, resets)
        out, state = self.recurrence.scan(*call.arguments, **call.options)
        return self.read(out, x, lengths), state

    def call(self, x: Tensor, state: S, lengths: Tensor | None, resets: Tensor | None) -> Call:
        """The scan as a call of the recurrence."""
        recurrence, weights = self.recurrence, self.weights()
        if isinstance(weights, Tensor) or not isinstance(recurrence, Recurrence):
            raise self._miswritten(weights)
        return Call(recurrence, self.drive(x), state, weights, lengths, resets, self.fresh(resets))

    def _miswritten(self, weights: Any) -> TypeError:
        kind = type(self).__name__
        if isinstance(weights, Tensor):
            return TypeError(f"{kind}.weights() gives one tensor, and must give a tuple: write `return (self.w_rec,)`")
        given = type(self.recurrence).__name__
        return TypeError(
            f"{kind}.recurrence is of the type {given}; write `recurrence = Recurrence(name, update, gates)`"
        )

    def read(self, out: Tensor, x: Tensor, lengths: Tensor | None) -> Tensor:
        """What `emit` makes of a scan's output, and zeros past each row's length."""
        y = self.emit(out, x)
        return y if y is out else tree.masked(y, lengths)

    def walk(
        self, x: Tensor, state: S | None = None, lengths: Tensor | None = None, resets: Tensor | None = None
    ) -> Iterator[Step]:
        """The same scan seen from inside, step by step: state, gates and output (before `emit`) of each."""
        _check(x, lengths, resets)
        start = self.initial_state(x.shape[0]) if state is None else state
        call = self.call(tree.masked(x, lengths), start, lengths, resets)
        return self.recurrence.walk(*call.arguments, **call.options)

    def explain(self, x: Tensor, lengths: Tensor | None = None, resets: Tensor | None = None) -> str:
        """Which kernel would run on x, and why not the others."""
        call = self.call(x, self.initial_state(x.shape[0]), lengths, resets)
        return self.recurrence.explain(*call.arguments, **call.options)

    def fresh(self, resets: Tensor | None) -> S | None:
        """The state that a reset returns to; None where nothing is reset."""
        return None if resets is None else self.initial_state(resets.shape[0])


def must_stream(layer: Layer) -> None:
    """Raises TypeError where a layer, or one inside it, reads the whole sequence."""
    for part in layer.modules():
        if isinstance(part, Layer) and not isinstance(part, Recurrent):
            rest = "" if part is layer else f" without it: this {type(layer).__name__} holds one"
            name = type(part).__name__
            raise TypeError(f"{name} reads the whole sequence, so it cannot stream; use a Stack{rest}")


def _check(x: Tensor, lengths: Tensor | None, resets: Tensor | None) -> None:
    if not isinstance(x, Tensor):
        raise ValueError(
            "x must be a tensor, [B, T, D] floating or ids [B, T] int64, and came as a "
            f"{type(x).__name__}; write torch.tensor(x)"
        )
    if x.ndim == 2 and x.is_floating_point():
        raise ValueError(
            f"x must be [B, T, D], or ids [B, T] int64, and is {kind_of(x)}; "
            "for one sequence write x.unsqueeze(0), for one time step call `step`"
        )
    if x.ndim < 2 or x.shape[1] == 0:
        raise ValueError(f"x must be [B, T, D] or ids [B, T] with at least one step, and has shape {tuple(x.shape)}")
    must_mark(x.shape[0], x.shape[1], lengths, resets)
