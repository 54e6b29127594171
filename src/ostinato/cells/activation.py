"""The nonlinearities of lecture S4 section 5, by name."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..registry import Registry


def identity(z: Tensor) -> Tensor:
    return z


activations = Registry("activation")
activations.update(
    tanh=torch.tanh,
    relu=torch.relu,
    sigmoid=torch.sigmoid,
    leaky_relu=F.leaky_relu,
    silu=F.silu,
    gelu=F.gelu,
    identity=identity,
)
