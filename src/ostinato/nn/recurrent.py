"""What the drop-in modules share: torch's parameters and conventions around a scan for each layer and direction."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .. import tree
from .._torch import in_jit_trace
from ..layers.bidirectional import reverse
from ..recurrence import Affine, Call, Recurrence, scans
from . import autocast, layout, options


class Motion(NamedTuple):
    """One layer in one direction, in our terms: bias [G] or None, then what `recurrence.gates` takes."""

    recurrence: Recurrence
    state: type  # the NamedTuple of its state
    bias: Tensor | None
    weights: tuple[Tensor, ...]


class TorchRecurrent(nn.Module, ABC):
    """A stack of layers as torch.nn has it, abstract: `motion` says what a layer's parameters mean."""

    blocks: int  # gates stacked in weight_ih and weight_hh
    leaves: int  # of the state: h, or h and c
    weight_ih_l0: nn.Parameter  # the first of those that `hold` makes

    @abstractmethod
    def motion(self, weight_hh: Tensor, biases: tuple[Tensor, ...], weight_hr: Tensor | None) -> Motion:
        """The recurrence of one layer and direction. biases: (bias_ih, bias_hh), or () without."""

    def hold(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int, bias: bool, batch_first: bool,
        dropout: float, bidirectional: bool, proj_size: int, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        """Checks the options, keeps them under torch's names, makes the parameters and draws them.

        Raises:
            TypeError, ValueError: as torch.nn.
        """
        options.check(input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        self.mode = mode
        self.input_size, self.hidden_size, self.proj_size = input_size, hidden_size, proj_size
        self.num_layers, self.bidirectional = num_layers, bidirectional
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self._all_weights: list[list[str]] = []
        width = input_size
        for layer in range(num_layers):
            for end in self._ends(layer):
                shapes = self._shapes(width)
                self._all_weights.append([f"{name}_{end}" for name in shapes])
                for name, shape in shapes.items():
                    empty = torch.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(f"{name}_{end}", nn.Parameter(empty))
            width = (proj_size or hidden_size) * self._directions
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all parameters anew, evenly within ±1/√hidden_size and in torch's order."""
        for p in self.parameters():
            nn.init.uniform_(p, -(self.hidden_size**-0.5), self.hidden_size**-0.5)

    def flatten_parameters(self) -> None:
        """Does nothing: for code written for torch.nn, whose parameters may lie in one buffer."""

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The parameters of each layer and direction, in torch's order."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """All steps of all layers, as torch.nn.

        Args:
            input: [T, B, D], or [B, T, D] with batch_first, or one sequence [T, D], or a PackedSequence.
            hx: the state before the first step; None: zeros. h [num_layers * directions, B, H], for an LSTM
                (h, c), with proj_size in the place of H in h; without the axis B for one sequence.

        Returns:
            (output, the state after each row's last step), in the layouts of the input and of hx.

        Raises:
            InputError: a ValueError and RuntimeError: a shape or dtype does not fit.
        """
        layout.check(input, self.input_size, self.weight_ih_l0.dtype)
        x, lengths = layout.rows(input, self.batch_first)
        if x.shape[1] == 0:
            raise layout.InputError("the input must have at least one time step, and has none")
        before = self._start(x, input, hx)
        after = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = layout.dropped(x, input, self.dropout)
            x, states = self._layer(layer, x, before, lengths)
            after += states
        results = [x, *map(torch.stack, zip(*after, strict=True))]
        if autocast.enabled(x):
            dtypes = autocast.returned(self.mode, self.proj_size, input, before)
            results = [t.to(dtype) for t, dtype in zip(results, dtypes, strict=True)]
        y, *last = results
        # With two directions y is their copy already; torch.jit.trace wants the same graph with gradients and without.
        copy = y.requires_grad and not self.bidirectional and not in_jit_trace()
        y = layout.sequence(y, lengths, input, self.batch_first, copy=copy)
        h_n = tuple(layout.final(leaf, input) for leaf in last)
        return y, h_n if self.leaves > 1 else h_n[0]

    def __prepare_scriptable__(self) -> NoReturn:
        """torch.jit.script asks for what it shall compile instead."""
        name = type(self).__name__
        raise TypeError(
            f"torch.jit.script cannot read ostinato.nn.{name}: use torch.compile or torch.export, "
            f"or script a torch.nn.{name} that has loaded its state_dict"
        )

    def extra_repr(self) -> str:
        """The sizes, and what differs from torch's defaults."""
        given = [str(self.input_size), str(self.hidden_size)]
        usual = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0}
        usual["bidirectional"] = False
        return ", ".join(given + [f"{k}={getattr(self, k)}" for k, v in usual.items() if getattr(self, k) != v])

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _ends(self, layer: int) -> list[str]:
        """How the names of a layer's parameters end, a direction each."""
        return [f"l{layer}", f"l{layer}_reverse"][: self._directions]

    def _shapes(self, width: int) -> dict[str, tuple[int, ...]]:
        """The parameters of one layer and direction that reads `width` features."""
        stacked = self.blocks * self.hidden_size
        shapes = {"weight_ih": (stacked, width), "weight_hh": (stacked, self.proj_size or self.hidden_size)}
        if self.bias:
            shapes |= {"bias_ih": (stacked,), "bias_hh": (stacked,)}
        return shapes | ({"weight_hr": (self.proj_size, self.hidden_size)} if self.proj_size else {})

    def _layer(
        self, layer: int, x: Tensor, before: list[Tensor], lengths: Tensor | None
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """One layer over x [B, T, ...]: (y [B, T, H * directions], the leaves [B, H] of each direction's state)."""
        calls = []
        for i, end in enumerate(self._ends(layer)):
            biases = tuple(getattr(self, f"{name}_{end}") for name in ("bias_ih", "bias_hh") if self.bias)
            projection = getattr(self, f"weight_hr_{end}") if self.proj_size else None
            motion = self.motion(getattr(self, f"weight_hh_{end}"), biases, projection)
            drive = Affine(reverse(x, lengths) if i else x, getattr(self, f"weight_ih_{end}"), motion.bias)
            state = motion.state(*(leaf[layer * self._directions + i] for leaf in before))
            calls.append(Call(motion.recurrence, drive, state, motion.weights, lengths))
        (y, *back), states = zip(*scans(calls), strict=True)
        y = torch.cat([y, reverse(back[0], lengths)], dim=-1) if back else y
        return y, [tree.leaves(state) for state in states]

    def _start(self, x: Tensor, given: Any, hx: Any) -> list[Tensor]:
        """The leaves of the state before the first step, [num_layers * directions, B, H] each, in the order of x."""
        count, widths = self.num_layers * self._directions, (self.proj_size or self.hidden_size, self.hidden_size)
        # Not len(x): a tracer that leaves the batch open would settle it there.
        shapes = [(count, x.shape[0], width) for width in widths[: self.leaves]]
        if hx is None:
            return [x.new_zeros(shape) for shape in shapes]
        parts = (hx,) if self.leaves == 1 else hx
        alone = not isinstance(given, PackedSequence) and given.ndim == 2
        wanted = [(n, h) for n, _, h in shapes] if alone else shapes
        if not isinstance(parts, (tuple, list)) or not all(isinstance(p, Tensor) for p in parts):
            raise layout.InputError(f"hx must be {'one tensor' if self.leaves == 1 else 'a pair of tensors, (h, c)'}")
        if [tuple(p.shape) for p in parts] != wanted:
            came = ", ".join(str(tuple(p.shape)) for p in parts)
            raise layout.InputError(
                f"hx must have the shape {', '.join(map(str, wanted))} for this input, and has {came}"
            )
        return [layout.start(part, given) for part in parts]
