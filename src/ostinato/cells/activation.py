"""The nonlinearities of lecture S4 section 5, by name."""

import torch
from torch.nn import functional as F

from ..registry import Registry

activations = Registry("activation")
activations.update(
    tanh=torch.tanh,
    relu=torch.relu,
    sigmoid=torch.sigmoid,
    leaky_relu=F.leaky_relu,
    silu=F.silu,
    gelu=F.gelu,
    identity=lambda z: z,
)
