"""A scan as one call that Dynamo does not look into. Imported while Dynamo runs, since torch._dynamo takes a second."""

import logging
from typing import Any

import torch

from ..._torch import nonstrict_trace

_LOG = logging.getLogger(__name__)


@nonstrict_trace
def scan(recurrence: Any, *arguments: Any) -> Any:
    """`recurrence.scan(*arguments)`: AOT autograd traces what happens inside, with the shapes that the call has."""
    try:
        return recurrence.scan(*arguments)
    except Exception as error:
        if torch.compiler.is_compiling():
            _LOG.error("%s", error)  # Dynamo raises an error of its own, and drops this one
        raise
