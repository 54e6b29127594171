"""Steps with a matrix as state, as a researcher writes them, and random numbers to run them on.

B batch, H heads, K the width of keys (N in state-space models), V the width of values (P in Mamba-2). In a drive a
leaf is [B, T, ...]; a step sees [B, ...], as the comments say. The styles differ on purpose: all of them are in use.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ostinato.recurrence import Recurrence


class Sizes(NamedTuple):
    k: int  # K, or N
    v: int  # V, or P; S6 has D = heads * v channels
    heads: int = 1


class S6Drive(NamedTuple):
    x: Tensor  # [B, D]
    delta: Tensor  # [B, D] size of the step, positive
    b: Tensor  # [B, N]
    c: Tensor  # [B, N]


def s6_gates(drive: S6Drive, h: Tensor, a_log: Tensor, skip: Tensor) -> tuple[Tensor, ...]:
    """Mamba-1 (Gu & Dao 2023, algorithm 2; eq. 4, B simplified to ΔB as in their code). a_log [D, N], skip [D]."""
    decay = (drive.delta.unsqueeze(-1) * -a_log.exp()).exp()  # [B, D, N]
    news = (drive.delta * drive.x).unsqueeze(-1) * drive.b.unsqueeze(1)
    return decay, news, drive.c, skip * drive.x


def s6_update(gates: tuple[Tensor, ...], h: Tensor) -> tuple[Tensor, Tensor]:
    decay, news, c, past = gates
    h = decay * h + news  # [B, D, N]
    return (h * c.unsqueeze(1)).sum(-1) + past, h


class SSDDrive(NamedTuple):
    x: Tensor  # [B, H, P]
    delta: Tensor  # [B, H]
    b: Tensor  # [B, N] shared by the heads
    c: Tensor  # [B, N]


def ssd_gates(drive: SSDDrive, h: Tensor, a_log: Tensor, skip: Tensor) -> tuple[Tensor, ...]:
    """Mamba-2 (Dao & Gu 2024, section 7): one decay a head. a_log and skip [H]."""
    news = torch.einsum("bh,bhp,bn->bhpn", drive.delta, drive.x, drive.b)
    return torch.exp(-drive.delta * a_log.exp()), news, drive.c, skip[:, None] * drive.x


def ssd_update(gates: tuple[Tensor, ...], h: Tensor) -> tuple[Tensor, Tensor]:
    decay, news, c, past = gates
    h = decay[..., None, None] * h + news  # [B, H, P, N]
    return torch.einsum("bhpn,bn->bhp", h, c) + past, h


class GLADrive(NamedTuple):
    q: Tensor  # [B, H, K]
    k: Tensor  # [B, H, K]
    v: Tensor  # [B, H, V]
    g: Tensor  # [B, H, K] the gate before its sigmoid


def gla(drive: GLADrive, s: Tensor) -> tuple[Tensor, Tensor]:
    """Gated linear attention (Yang et al. 2024, eq. 3 and section 4.4): S_t = diag(α_t) S_{t-1} + k_t^T v_t."""
    alpha = drive.g.sigmoid() ** (1 / 16)
    s = alpha.unsqueeze(-1) * s + drive.k.unsqueeze(-1) @ drive.v.unsqueeze(-2)  # [B, H, K, V]
    return (drive.q.unsqueeze(-2) @ s).squeeze(-2), s


class DeltaDrive(NamedTuple):
    q: Tensor  # [B, H, K]
    k: Tensor  # [B, H, K]
    v: Tensor  # [B, H, V]
    alpha: Tensor  # [B, H] decay; with a decay a channel [B, H, K]
    beta: Tensor  # [B, H] strength of writing


def gated_delta(drive: DeltaDrive, s: Tensor) -> tuple[Tensor, Tensor]:
    """Gated delta rule (Yang, Kautz & Hatamizadeh 2025, eq. 10), S transposed; k has length 1.

    S_t = α_t (I - β_t k_t k_t^T) S_{t-1} + β_t k_t v_t^T, written as what v is corrected by.
    """
    q, k, v, alpha, beta = drive
    s = alpha[..., None, None] * s
    error = v - torch.einsum("bhk,bhkv->bhv", k, s)
    s = s + torch.einsum("bhk,bhv->bhkv", k, beta[..., None] * error)  # [B, H, K, V]
    return torch.einsum("bhk,bhkv->bhv", q, s), s


def kda(drive: DeltaDrive, s: Tensor) -> tuple[Tensor, Tensor]:
    """Kimi delta attention (Kimi Team 2025, eq. 1): S_t = (I - β_t k_t k_t^T) Diag(α_t) S_{t-1} + β_t k_t v_t^T."""
    q, k = F.normalize(drive.q, dim=-1), F.normalize(drive.k, dim=-1)
    s = drive.alpha[..., None] * s
    error = drive.v - (k[..., None] * s).sum(-2)
    s = s + (drive.beta[..., None] * k)[..., None] * error[..., None, :]  # [B, H, K, V]
    return (q[..., None] * s).sum(-2), s


class RWKV7Drive(NamedTuple):
    r: Tensor  # [B, H, K] receptance
    w: Tensor  # [B, H, K] decay, before its sigmoid
    k: Tensor  # [B, H, K] key that is written
    v: Tensor  # [B, H, V]
    kappa: Tensor  # [B, H, K] key that is removed, of any length
    a: Tensor  # [B, H, K] in-context learning rate, in 0..1


def rwkv7(drive: RWKV7Drive, s: Tensor) -> tuple[Tensor, Tensor]:
    """RWKV-7 (Peng et al. 2025, eq. 17): S_t = S_{t-1} (diag(w_t) - κ̂_t^T (a_t ⊙ κ̂_t)) + v_t^T k_t; output S_t r_t^T.

    The bonus and the norm after it see no state: they belong to the layer.
    """
    w = torch.exp(-0.6065306597126334 * torch.sigmoid(drive.w))  # eq. 12: exp(-e^(-0.5) σ(·))
    kappa = F.normalize(drive.kappa, dim=-1)
    removed = s @ kappa.unsqueeze(-1)  # [B, H, V, 1]
    s = s * w.unsqueeze(-2) - removed @ (drive.a * kappa).unsqueeze(-2) + drive.v.unsqueeze(-1) @ drive.k.unsqueeze(-2)
    return (s @ drive.r.unsqueeze(-1)).squeeze(-1), s  # s [B, H, V, K]


class MLSTMDrive(NamedTuple):
    q: Tensor  # [B, H, K]
    k: Tensor  # [B, H, K]
    v: Tensor  # [B, H, V]
    i: Tensor  # [B, H] input gate, before exp
    f: Tensor  # [B, H] forget gate, before its sigmoid
    o: Tensor  # [B, H, V] output gate, before its sigmoid


class MLSTMState(NamedTuple):
    c: Tensor  # [B, H, V, K] memory
    n: Tensor  # [B, H, K] normaliser
    m: Tensor  # [B, H] stabiliser: c and n are kept divided by exp(m)


def mlstm(drive: MLSTMDrive, state: MLSTMState) -> tuple[Tensor, MLSTMState]:
    """mLSTM (Beck et al. 2024, eq. 19 to 27, stabilised by eq. 15 to 17)."""
    k, forget = drive.k / drive.k.shape[-1] ** 0.5, F.logsigmoid(drive.f) + state.m
    m = torch.maximum(forget, drive.i)
    i, f = (drive.i - m).exp().unsqueeze(-1), (forget - m).exp().unsqueeze(-1)
    c = f.unsqueeze(-1) * state.c + torch.einsum("bhv,bhk->bhvk", i * drive.v, k)
    n = f * state.n + i * k
    least = torch.maximum((n * drive.q).sum(-1).abs(), (-m).exp())
    h = torch.einsum("bhvk,bhk->bhv", c, drive.q) / least.unsqueeze(-1)
    return drive.o.sigmoid() * h, MLSTMState(c, n, m)


class M2RNNDrive(NamedTuple):
    q: Tensor  # [B, H, K]
    k: Tensor  # [B, H, K]
    v: Tensor  # [B, H, V]
    f: Tensor  # [B, H] forget gate, in 0..1


def m2rnn_gates(drive: M2RNNDrive, h: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    """M²RNN (Mishra et al. 2026): H_t = f_t H_{t-1} + (1 - f_t) tanh(H_{t-1} W + k_t v_t^T). w [H, V, V]."""
    z = torch.tanh(h @ w + drive.k[..., :, None] * drive.v[..., None, :])
    return drive.f[..., None, None], z, drive.q


def m2rnn_update(gates: tuple[Tensor, ...], h: Tensor) -> tuple[Tensor, Tensor]:
    f, z, q = gates
    h = f * h + (1 - f) * z  # [B, H, K, V]
    return (q[..., None, :] @ h).squeeze(-2), h


class Given(NamedTuple):
    """What a scan reads."""

    drive: Any  # leaves [B, T, ...]
    state: Any  # leaves [B, ...]
    weights: tuple[Tensor, ...] = ()


class Case(NamedTuple):
    recurrence: Recurrence
    make: Callable[[int, int, Sizes, torch.dtype], Given]  # B, T, sizes, dtype; drawn from torch's generator


def _s6(b: int, t: int, sizes: Sizes, dtype: torch.dtype) -> Given:
    n, d, of = sizes.k, sizes.heads * sizes.v, partial(torch.randn, dtype=dtype)
    drive = S6Drive(of(b, t, d), F.softplus(of(b, t, d) - 2), of(b, t, n), of(b, t, n))
    return Given(drive, of(b, d, n), (of(d, n) / 2 + torch.arange(1, n + 1).log(), of(d)))


def _ssd(b: int, t: int, sizes: Sizes, dtype: torch.dtype) -> Given:
    (n, p, heads), of = sizes, partial(torch.randn, dtype=dtype)
    drive = SSDDrive(of(b, t, heads, p), F.softplus(of(b, t, heads) - 2), of(b, t, n), of(b, t, n))
    return Given(drive, of(b, heads, p, n), (of(heads), of(heads)))


def _gla(b: int, t: int, sizes: Sizes, dtype: torch.dtype) -> Given:
    (k, v, heads), of = sizes, partial(torch.randn, dtype=dtype)
    drive = GLADrive(*(of(b, t, heads, width) for width in (k, k, v, k)))
    return Given(drive, of(b, heads, k, v))


def _delta(b: int, t: int, sizes: Sizes, dtype: torch.dtype, channels: bool = False) -> Given:
    (k, v, heads), of = sizes, partial(torch.randn, dtype=dtype)
    key = of(b, t, heads, k) if channels else F.normalize(of(b, t, heads, k), dim=-1)
    alpha = (of(b, t, heads, *[k] * channels) + 3).sigmoid()
    drive = DeltaDrive(of(b, t, heads, k), key, of(b, t, heads, v), alpha, of(b, t, heads).sigmoid())
    return Given(drive, of(b, heads, k, v))


def _rwkv7(b: int, t: int, sizes: Sizes, dtype: torch.dtype) -> Given:
    (k, v, heads), of = sizes, partial(torch.randn, dtype=dtype)
    r, w, key, kappa, a = (of(b, t, heads, k) for _ in range(5))
    return Given(RWKV7Drive(r, w, key, of(b, t, heads, v), kappa, a.sigmoid()), of(b, heads, v, k))


def _mlstm(b: int, t: int, sizes: Sizes, dtype: torch.dtype) -> Given:
    (k, v, heads), of = sizes, partial(torch.randn, dtype=dtype)
    rows = [of(b, t, heads, *width) for width in ([k], [k], [v], [], [], [v])]
    rows[4] += 2  # an mLSTM's forget gate starts open
    return Given(MLSTMDrive(*rows), MLSTMState(of(b, heads, v, k), of(b, heads, k), of(b, heads)))


def _m2rnn(b: int, t: int, sizes: Sizes, dtype: torch.dtype) -> Given:
    (k, v, heads), of = sizes, partial(torch.randn, dtype=dtype)
    drive = M2RNNDrive(*(of(b, t, heads, width) for width in (k, k, v)), of(b, t, heads).sigmoid())
    return Given(drive, of(b, heads, k, v), (of(heads, v, v) / v**0.5,))


CASES = {
    "s6": Case(Recurrence("s6", s6_update, s6_gates, linear=True), _s6),
    "mamba2": Case(Recurrence("mamba2", ssd_update, ssd_gates, linear=True), _ssd),
    "gla": Case(Recurrence("gla", gla, linear=True), _gla),
    "gated_delta": Case(Recurrence("gated_delta", gated_delta, linear=True), _delta),
    "kda": Case(Recurrence("kda", kda, linear=True), partial(_delta, channels=True)),
    "rwkv7": Case(Recurrence("rwkv7", rwkv7, linear=True), _rwkv7),
    "mlstm": Case(Recurrence("mlstm", mlstm), _mlstm),
    "m2rnn": Case(Recurrence("m2rnn", m2rnn_update, m2rnn_gates), _m2rnn),
}
