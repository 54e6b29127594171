"""Layers one above another: layer l reads what layer l-1 wrote (lecture S3 section 2.3.5, S4 section 6.3)."""

from typing import Any

from torch import Tensor, nn

from ..recurrent import Layer, Recurrent

# torch's words for widths that do not fit: of a product, of a normalisation.
WIDTHS = ("shapes cannot be multiplied", "normalized_shape")


class Stack(Recurrent[tuple[Any, ...]]):
    """x -> parts[0] -> parts[1] -> ... -> y. The state is the tuple of the parts' states.

    Args:
        parts: layers; a plain module (Linear, LayerNorm, Embedding) goes in as `Pointwise(module)`.

    A part that reads the whole sequence (Bidirectional) is taken too: then whole sequences work, and `step` raises.

    Raises:
        TypeError: a part is no Layer.
        ValueError: there is no part, or a state has another number of entries than there are parts.
            While reading, a part cannot take what the one before it gave; the message names both.
    """

    def __init__(self, *parts: Layer) -> None:
        super().__init__()
        if not parts:
            raise ValueError("a Stack needs at least one part, and got none")
        for i, part in enumerate(parts):
            if not isinstance(part, Layer):
                name = type(part).__name__
                raise TypeError(f"part {i} of the Stack must be a Layer, and is {name}; write Pointwise({name}(...))")
        self.parts = nn.ModuleList(parts)

    def initial_state(self, batch: int) -> tuple[Any, ...]:
        return tuple(part.initial_state(batch) for part in self._layers())

    def scan(
        self, x: Tensor, state: tuple[Any, ...], lengths: Tensor | None, resets: Tensor | None
    ) -> tuple[Tensor, tuple[Any, ...]]:
        if len(state) != len(self.parts):
            raise ValueError(f"this Stack has {len(self.parts)} parts, so {len(self.parts)} states, not {len(state)}")
        after = []
        for i, (part, s) in enumerate(zip(self._layers(), state, strict=True)):
            try:
                x, s = part.scan(x, s, lengths, resets)
            except (RuntimeError, ValueError) as error:
                if isinstance(error, RuntimeError) and not any(words in str(error) for words in WIDTHS):
                    raise
                raise ValueError(self._located(i, x, error)) from error
            after.append(s)
        return x, tuple(after)

    def _located(self, i: int, x: Tensor, error: Exception) -> str:
        names = [type(part).__name__ for part in self.parts]
        origin = f", which part {i - 1}, {names[i - 1]}, gave" if i else ""
        told = f"part {i} of the Stack, {names[i]}, was to read x of shape {tuple(x.shape)}{origin}: {error}"
        return told if isinstance(error, ValueError) else f"{told}; give it the width that it reads"

    def _layers(self) -> list[Layer]:
        return list(self.parts)  # type: ignore[arg-type]  # ModuleList forgets what it holds
