"""The formulas of matrix_steps.py as their papers print them, one row of the batch and one number or head at a time.

NumPy in float64. Each takes drive leaves [T, ...], the state before the first step and the weights of one row, and
gives (outputs [T, ...], the state's leaves after the last step). No line is shared with the steps.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = Any
Result = tuple[Array, list[Array]]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def s6(drive: list[Array], state: list[Array], a_log: Array, skip: Array) -> Result:
    """Gu & Dao 2023: h_t = exp(Δ A) h_{t-1} + Δ B_t x_t, y_t = C_t h_t + D x_t, each channel by itself."""
    (x, delta, b, c), h = drive, state[0].copy()
    y = np.zeros_like(x)
    for t in range(len(x)):
        for d in range(h.shape[0]):
            for n in range(h.shape[1]):
                h[d, n] = math.exp(delta[t, d] * -math.exp(a_log[d, n])) * h[d, n] + delta[t, d] * b[t, n] * x[t, d]
                y[t, d] += c[t, n] * h[d, n]
            y[t, d] += skip[d] * x[t, d]
    return y, [h]


def mamba2(drive: list[Array], state: list[Array], a_log: Array, skip: Array) -> Result:
    """Dao & Gu 2024: as S6, with one number for A in each head."""
    (x, delta, b, c), h = drive, state[0].copy()
    y = np.zeros_like(x)
    for t in range(len(x)):
        for i in range(len(h)):
            h[i] = math.exp(-delta[t, i] * math.exp(a_log[i])) * h[i] + delta[t, i] * np.outer(x[t, i], b[t])
            y[t, i] = h[i] @ c[t] + skip[i] * x[t, i]
    return y, [h]


def gla(drive: list[Array], state: list[Array]) -> Result:
    """Yang et al. 2024: S_t = (α_t^T 1) ⊙ S_{t-1} + k_t^T v_t, o_t = q_t S_t."""
    (q, k, v, g), s = drive, state[0].copy()
    o = np.zeros_like(v)
    for t in range(len(v)):
        for i in range(len(s)):
            alpha = sigmoid(g[t, i]) ** (1 / 16)
            s[i] = np.outer(alpha, np.ones(v.shape[-1])) * s[i] + np.outer(k[t, i], v[t, i])
            o[t, i] = q[t, i] @ s[i]
    return o, [s]


def gated_delta(drive: list[Array], state: list[Array]) -> Result:
    """Yang et al. 2025: S_t = S_{t-1} (α_t (I - β_t k_t k_t^T)) + β_t v_t k_t^T, o_t = S_t q_t, with S [V, K]."""
    (q, k, v, alpha, beta), s = drive, state[0].transpose(0, 2, 1).copy()
    o = np.zeros_like(v)
    for t in range(len(v)):
        for i in range(len(s)):
            erase = np.eye(k.shape[-1]) - beta[t, i] * np.outer(k[t, i], k[t, i])
            s[i] = s[i] @ (alpha[t, i] * erase) + beta[t, i] * np.outer(v[t, i], k[t, i])
            o[t, i] = s[i] @ q[t, i]
    return o, [s.transpose(0, 2, 1)]


def kda(drive: list[Array], state: list[Array]) -> Result:
    """Kimi Team 2025: S_t = (I - β_t k_t k_t^T) Diag(α_t) S_{t-1} + β_t k_t v_t^T, o_t = S_t^T q_t."""
    (q, k, v, alpha, beta), s = drive, state[0].copy()
    o = np.zeros_like(v)
    for t in range(len(v)):
        for i in range(len(s)):
            unit_q, unit_k = (z / math.sqrt(sum(z**2)) for z in (q[t, i], k[t, i]))
            erase = np.eye(len(unit_k)) - beta[t, i] * np.outer(unit_k, unit_k)
            s[i] = erase @ np.diag(alpha[t, i]) @ s[i] + beta[t, i] * np.outer(unit_k, v[t, i])
            o[t, i] = s[i].T @ unit_q
    return o, [s]


def rwkv7(drive: list[Array], state: list[Array]) -> Result:
    """Peng et al. 2025: S_t = S_{t-1} (diag(w_t) - κ̂_t^T (a_t ⊙ κ̂_t)) + v_t^T k_t, with S [V, K]."""
    (r, w, k, v, kappa, a), s = drive, state[0].copy()
    o = np.zeros_like(v)
    for t in range(len(v)):
        for i in range(len(s)):
            unit = kappa[t, i] / math.sqrt(sum(kappa[t, i] ** 2))
            decay = np.exp(-math.exp(-0.5) * sigmoid(w[t, i]))
            s[i] = s[i] @ (np.diag(decay) - np.outer(unit, a[t, i] * unit)) + np.outer(v[t, i], k[t, i])
            o[t, i] = s[i] @ r[t, i]
    return o, [s]


def mlstm(drive: list[Array], state: list[Array]) -> Result:
    """Beck et al. 2024, eq. 19 to 27, not stabilised: C and n themselves, and max(|n^T q|, 1)."""
    (q, k, v, i, f, o), (c, n, m) = drive, state
    c, n, m = c * np.exp(m)[:, None, None], n * np.exp(m)[:, None], m.copy()
    y = np.zeros_like(v)
    for t in range(len(v)):
        for j in range(len(c)):
            key, entry, kept = k[t, j] / math.sqrt(k.shape[-1]), math.exp(i[t, j]), sigmoid(f[t, j])
            c[j] = kept * c[j] + entry * np.outer(v[t, j], key)
            n[j] = kept * n[j] + entry * key
            m[j] = max(math.log(kept) + m[j], i[t, j])
            y[t, j] = sigmoid(o[t, j]) * (c[j] @ q[t, j]) / max(abs(n[j] @ q[t, j]), 1)
    return y, [c * np.exp(-m)[:, None, None], n * np.exp(-m)[:, None], m]


def m2rnn(drive: list[Array], state: list[Array], w: Array) -> Result:
    """Mishra et al. 2026: Z_t = tanh(H_{t-1} W + k_t v_t^T), H_t = f_t H_{t-1} + (1 - f_t) Z_t, y_t = H_t^T q_t."""
    (q, k, v, f), h = drive, state[0].copy()
    y = np.zeros_like(v)
    for t in range(len(v)):
        for i in range(len(h)):
            z = np.tanh(h[i] @ w[i] + np.outer(k[t, i], v[t, i]))
            h[i] = f[t, i] * h[i] + (1 - f[t, i]) * z
            y[t, i] = h[i].T @ q[t, i]
    return y, [h]


ORACLES: dict[str, Callable[..., Result]] = {
    "s6": s6, "mamba2": mamba2, "gla": gla, "gated_delta": gated_delta, "kda": kda, "rwkv7": rwkv7, "mlstm": mlstm,
    "m2rnn": m2rnn,
}  # fmt: skip
