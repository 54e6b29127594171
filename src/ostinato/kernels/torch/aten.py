"""torch's own LSTM, GRU and Elman kernels (oneDNN on the CPU, cuDNN on a GPU), where a recurrence IS torch's.

They take the input product inside, so they want the drive as an `Affine`. What they cannot do they refuse
in words: resets, other gate layouts, transforms of torch.func (no kernel of theirs has a second derivative).
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..._torch import in_jit_trace, in_transform, onednn_has_bfloat16
from ..table import Affine, kernel

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def refuses(
    drive: Any,
    state: Sequence[Tensor],
    *weights: Tensor,
    lengths: Tensor | None = None,
    resets: Tensor | None = None,
    initial: Any = None,
) -> str | None:
    if torch.compiler.is_compiling():
        return "torch.compile and torch.export take torch's own kernels apart, step by step"
    if not isinstance(drive, Affine):
        return "it wants the drive as one affine map of the input, and this cell computes another one"
    if resets is not None:
        return "it cannot reset the state in mid-sequence"
    if drive.x.dtype not in _DTYPES:
        return f"its dtype is {drive.x.dtype}; float32, float64, bfloat16 and float16 are written"
    if drive.x.shape[0] == 0:
        return "the batch is empty"
    if in_transform():
        return "inside a torch.func transform only the reference can be differentiated further"
    return None


def refuses_lstm(drive: Any, state: Sequence[Tensor], *weights: Tensor, **options: Any) -> str | None:
    if (why := refuses(drive, state, *weights, **options)) is not None or drive.x.device.type != "cpu":
        return why
    mixed = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    if mixed and not onednn_has_bfloat16():
        return "oneDNN has no LSTM of bfloat16 for this processor"
    return None


def _check(drive: Affine, state: Any, d_hidden: int) -> None:
    # torch.nn's modules check this in Python; the functions below them read past the end of memory instead.
    drive.check()
    x = drive.x
    if x.ndim != 3:
        raise ValueError(f"x must be [B, T, {x.shape[-1]}] for this cell, and has shape {tuple(x.shape)}")
    for leaf in (state,) if isinstance(state, Tensor) else state:
        if tuple(leaf.shape) != (1, len(x), d_hidden):
            raise ValueError(
                f"each leaf of the state must be [{len(x)}, {d_hidden}], and one is {tuple(leaf.shape[1:])}"
            )


def _ragged(lengths: Tensor | None, x: Tensor) -> bool:
    return lengths is not None and bool((lengths < x.shape[1]).any())


def _learns() -> bool:
    """Whether a gradient may be asked for. torch.jit.trace, which runs twice, wants the same answer each time."""
    return torch.is_grad_enabled() or in_jit_trace()


def _run(op: Any, drive: Affine, state: Any, weights: list[Tensor], lengths: Tensor | None) -> Any:
    """Calls torch.lstm / gru / rnn_tanh / rnn_relu on one layer; returns its raw results."""
    x, w_in, b_in = drive
    _check(drive, state, weights[0].shape[1])
    bias = torch.zeros_like(w_in[:, 0]) if b_in is None else b_in
    w_rec, b_rec = weights
    params = [w_in, w_rec, bias, b_rec]
    with warnings.catch_warnings():
        # cuDNN likes the four weights in one buffer and copies them there each call otherwise: a few
        # microseconds, and our parameters stay plain tensors that anyone may replace.
        warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous")
        if not _ragged(lengths, x):
            return op(x, state, params, True, 1, 0.0, _learns(), False, True)
        assert lengths is not None
        # Packing wants lengths >= 1 on the CPU. Rows of length 0 are put right by the caller; what they read here must
        # not be NaN, which would come back in gradients, as 0 times NaN.
        x = torch.where((lengths == 0)[:, None, None], torch.zeros_like(x), x)
        packed = pack_padded_sequence(x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        order = packed.sorted_indices
        assert order is not None and packed.unsorted_indices is not None
        sort = (lambda s: s.index_select(1, order)) if isinstance(state, Tensor) else None
        hx = sort(state) if sort else tuple(s.index_select(1, order) for s in state)
        data, *final = op(packed.data, packed.batch_sizes, hx, params, True, 1, 0.0, _learns(), False)
        out, _ = pad_packed_sequence(packed._replace(data=data), batch_first=True, total_length=x.shape[1])
        return out, *(f.index_select(1, packed.unsorted_indices) for f in final)


def _finish(out: Tensor, final: list[Tensor], start: Sequence[Tensor], lengths: Tensor | None) -> Any:
    """Rows of length 0 keep their state and give zeros; the final leaves lose torch's layer axis."""
    # Under autocast torch gives the state in bfloat16; what is carried on keeps the dtype it came with.
    leaves = tuple(f[0].to(s.dtype) for s, f in zip(start, final, strict=True))
    if lengths is not None:
        none = lengths == 0
        leaves = tuple(torch.where(none[:, None], s, f) for s, f in zip(start, leaves, strict=True))
        out = torch.where(none[:, None, None], torch.zeros_like(out), out)
    return out, leaves


@kernel("lstm", "aten", refuses_lstm)
def lstm(drive: Affine, state: Sequence[Tensor], w_rec: Tensor, *, lengths=None, resets=None, initial=None):
    h, c = (s[None].contiguous() for s in state)
    out, *final = _run(torch.lstm, drive, (h, c), [w_rec, torch.zeros_like(w_rec[:, 0])], lengths)
    return _finish(out, final, state, lengths)


@kernel("gru", "aten", refuses)
def gru(drive: Affine, state: Sequence[Tensor], w_rec: Tensor, b_n: Tensor, *, lengths=None, resets=None, initial=None):
    # torch adds its second bias to all three gates; ours has it in the candidate only, the others merged.
    zeros = torch.zeros_like(b_n)
    out, *final = _run(torch.gru, drive, state[0][None].contiguous(), [w_rec, torch.cat([zeros, zeros, b_n])], lengths)
    return _finish(out, final, state, lengths)


def _elman(op: Any):
    def scan(drive: Affine, state: Sequence[Tensor], w_rec: Tensor, *, lengths=None, resets=None, initial=None):
        weights = [w_rec, torch.zeros_like(w_rec[:, 0])]
        out, *final = _run(op, drive, state[0][None].contiguous(), weights, lengths)
        return _finish(out, final, state, lengths)

    return scan


kernel("elman_tanh", "aten", refuses)(_elman(torch.rnn_tanh))
kernel("elman_relu", "aten", refuses)(_elman(torch.rnn_relu))
