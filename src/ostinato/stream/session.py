"""A session: a model that reads a stream, and remembers where it is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import tree
from ..matching import matched
from ..recurrent import Layer, Recurrent, must_stream
from ..train import checkpoint
from .given import fingerprint, tensor
from .ways import Compiled, Plain, must_round, way


class SessionError(ValueError):
    """A saved session that does not fit; the message says why and what to do."""


class Session:
    """Reads sequences step by step, in memory that does not grow; each call moves the state.

        session = Session(model)
        y = session(x)             one step: x [D] -> y [D'], or a token's number -> y
        ys = session.push(chunk)   many: [T, D] -> [T, D']

    On the CPU the whole step of the model, all layers, is one compiled call on memory laid out beforehand; it is made
    at the first call (some seconds, kept on disk) from the weights as they are then. Where no kernel can be derived
    the model runs as it is: `explain` tells.

    With weights="bfloat16" these are rounded where they are packed, and so is what they are multiplied with; the state
    and all between products stay float32. A step that is bound by reading weights takes about half the time.

    With several sequences side by side, `batch` > 1, all shapes have the batch first: x [B, D], chunk [B, T, D].
    x is a tensor or a NumPy array, of any floating dtype, and y is of the same kind; token ids are integers. A session
    belongs to one thread at a time.

    Args:
        model: in eval mode.
        batch: how many sequences.
        weights: None, as the model has them, or "bfloat16".

    Raises:
        TypeError: the model is no Recurrent, or a part of it reads whole sequences.
        ValueError: the model is in training mode; batch is no number of sequences; weights cannot be "bfloat16" on this
            processor, or for this model. From a call: x does not fit.
    """

    def __init__(self, model: Recurrent[Any], batch: int = 1, weights: str | None = None) -> None:
        if not isinstance(model, Layer):
            name = type(model).__name__
            raise TypeError(
                f"a session reads with a Recurrent, and got a {name}; take a cell by name, cells['gru'], "
                "or a Stack, in which a module that knows no time stands as Pointwise(...)"
            )
        must_stream(model)
        if model.training:
            raise ValueError(
                "a session reads with a trained model, and this one is in training mode; call model.eval()"
            )
        if type(batch) is not int or batch < 1:
            raise ValueError(f"batch is how many sequences a session reads, 1 or more, and is {batch!r}")
        if weights is not None:
            must_round(model, weights)
        self._begin(model, batch, weights)

    def _begin(self, model: Recurrent[Any], batch: int, weights: str | None) -> None:
        self.model, self.batch, self.weights, self.steps = model, batch, weights, 0
        self._way: Compiled | Plain | None = None
        self._packed: str | None = None  # which weights are
        self._waiting: Any = None  # a state that was loaded before the first call
        self._shape: Any = None  # of x in most calls, which then take a short cut

    def __call__(self, x: Any) -> Any:
        """One step of each sequence: x [D] or [B, D], or ids [] or [B], to y [D'] or [B, D']."""
        shape = self._shape
        if shape is None or x.__class__ not in (Tensor, np.ndarray) or x.shape != shape:
            return self._read(x, chunk=False)
        if x.__class__ is np.ndarray:
            if x.dtype.kind != "f":
                return self._read(x, chunk=False)
            self._x[...] = x
            self._run(self._x_at, 1, self._y_at)
            self.steps += 1
            return self._y.copy()
        if x.dtype is not self._dtype or not x.is_contiguous() or not x.is_cpu:
            if not x.is_floating_point():
                return self._read(x, chunk=False)
            x = x.to("cpu", self._dtype).contiguous()
        y = torch.empty(self._y_shape, dtype=self._dtype)
        self._run(x.data_ptr(), 1, y.data_ptr())
        self.steps += 1
        return y

    def push(self, chunk: Any) -> Any:
        """Many steps at once, the same as one after the other: [T, D] or [B, T, D], or ids [T] or [B, T]."""
        return self._read(chunk, chunk=True)

    def fork(self) -> "Session":
        """Another session that goes on from here; the weights are shared."""
        other = object.__new__(Session)  # whatever mode the model is in by now
        other._begin(self.model, self.batch, self.weights)
        other.steps = self.steps
        if self._way is not None:
            other._go(self._way.fork())
            other._packed = self._packed
        other._waiting = self._waiting
        return other

    def refresh(self) -> None:
        """Takes the model's weights as they are now; the state stays, and goes on with them."""
        if self._way is not None:
            self._waiting = self._way.state()
        self._way = self._packed = self._shape = None

    def __reduce_ex__(self, protocol: Any) -> Any:
        """A compiled call is of this process, and its memory of this session."""
        raise TypeError(
            "a session can be neither copied nor pickled; fork() makes another one here, and save() and load() carry "
            "its state to a session elsewhere"
        )

    def reset(self) -> None:
        """Back to the initial state."""
        self._set(self.model.initial_state(self.batch), 0)

    @property
    def state(self) -> Any:
        """The state after the last step, as the model has it: a copy."""
        if self._way is not None:
            return tree.map(torch.clone, self._way.state())
        start = self.model.initial_state(self.batch) if self._waiting is None else self._waiting
        return tree.map(lambda s: s.detach().clone(), start)

    def save(self, path: str | Path, extra: Mapping[str, Any] | None = None) -> None:
        """Writes the state to a safetensors file; the model's weights are not in it.

        Args:
            extra: what else belongs to the state, as JSON knows it; `load` gives it back.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        state = matched(self.state, self.model.initial_state(self.batch), "the state", "the initial one")
        leaves = {f"state.{i}": leaf for i, leaf in enumerate(tree.leaves(state))}
        meta = {"kind": "session", "steps": self.steps, "batch": self.batch, "model": self._print()}
        checkpoint.save(Path(path), leaves, meta | {"weights": self.weights, "extra": dict(extra or {})})

    def load(self, path: str | Path) -> dict[str, Any]:
        """Goes on where `save` was called, in a session of the same model, batch and weights; gives its `extra`.

        Raises:
            CheckpointError: the file is damaged, or a pickle.
            SessionError: it is missing, no session's, or another model's.
        """
        if not Path(path).is_file():
            raise SessionError(f"{path} does not exist; name a file that Session.save wrote")
        leaves, meta = checkpoint.load(Path(path))
        if meta.get("kind") != "session":
            raise SessionError(f"{path} is not a saved session; name a file that Session.save wrote")
        if meta["batch"] != self.batch:
            raise SessionError(
                f"{path} holds {meta['batch']} sequences and this session reads {self.batch}; "
                f"make it with Session(model, batch={meta['batch']})"
            )
        if meta["model"] != self._print():
            raise SessionError(
                f"{path} is the state of another model, or of other weights; load the weights that it was saved with"
            )
        if (theirs := meta.get("weights")) != self.weights:
            kinds = [f"weights of {kind}" if kind else "the model's own weights" for kind in (theirs, self.weights)]
            raise SessionError(
                f"{path} was read with {kinds[0]}, and this session reads with {kinds[1]}; make it with "
                f"Session(model, weights={theirs!r})"
            )
        start = self.model.initial_state(self.batch)
        found = [leaves[f"state.{i}"].to(s.device) for i, s in enumerate(tree.leaves(start))]
        self._set(tree.like(start, found), meta["steps"])
        return meta["extra"]

    def _print(self) -> str:
        """Which weights the state belongs to: those that are packed."""
        return fingerprint(self.model) if self._packed is None else self._packed

    def explain(self) -> str:
        """Whether a compiled call runs, or why not."""
        if self._way is None:
            return "nothing was read yet: the kernel is derived at the first call"
        return self._way.explain()

    def _set(self, state: Any, steps: int) -> None:
        self.steps = steps
        if self._way is None:
            self._waiting = state
        else:
            self._way.load(state)

    def _go(self, way: Compiled | Plain) -> None:
        self._way = way
        self._packed = fingerprint(self.model) if isinstance(way, Compiled) else None
        if isinstance(way, Plain) or way.ids:
            return
        batch = () if self.batch == 1 else (self.batch,)
        x, y = torch.zeros(*batch, way.width, dtype=way.dtype), torch.zeros(*batch, *way.y_shape, dtype=way.dtype)
        self._shape, self._y_shape, self._dtype, self._run = x.shape, y.shape, way.dtype, way.stream.run
        self._x, self._y, self._x_at, self._y_at = x.numpy(), y.numpy(), x.data_ptr(), y.data_ptr()

    def _read(self, x: Any, chunk: bool) -> Any:
        rows = tensor(x)
        axes = 1 + int(chunk) + int(rows.is_floating_point())
        alone = self.batch == 1 and rows.ndim == axes - 1
        rows = rows.unsqueeze(0) if alone else rows
        strange = rows.is_complex() or rows.dtype is torch.bool
        if strange or rows.ndim != axes or len(rows) != self.batch or 0 in rows.shape:
            raise ValueError(self._expected(x, rows, chunk))
        rows = rows if chunk else rows.unsqueeze(1)
        y = self._first(rows) if self._way is None else self._way.read(rows)
        self.steps += rows.shape[1]
        y = y if chunk else y.squeeze(1)
        y = y.squeeze(0) if alone else y
        if not isinstance(x, np.ndarray):
            return y
        return (y.float() if y.dtype is torch.bfloat16 else y).cpu().numpy()

    def _first(self, rows: Tensor) -> Tensor:
        """Begins to read; where that fails, nothing has been settled."""
        made = way(self.model, rows, self.batch, self.weights)
        if self._waiting is not None:
            made.load(self._waiting)
        y = made.read(rows)
        self._go(made)
        self._waiting = None
        return y

    def _expected(self, x: Any, rows: Tensor, chunk: bool) -> str:
        batch = [] if self.batch == 1 else [str(self.batch)]
        ids = ", ".join([*batch, *(["T"] if chunk else [])])
        floats = ", ".join([*batch, *(["T"] if chunk else []), "D"])
        what = "a chunk" if chunk else "a step"
        return (
            f"{what} must be [{floats}] floating, or token ids [{ids}], with nothing empty, and is "
            f"{str(rows.dtype).removeprefix('torch.')} of shape {tuple(np.shape(x))}"
        )
