"""Trees that stand for one another: leaves are matched by the structure, so by key in a dict, never by position."""

from typing import Any

from torch import Tensor

from ._torch import pytree


class Mismatch(ValueError):
    """A tree that cannot stand for another one; the message says how both are built."""


def matched(tree: Any, like: Any, what: str, of: str = "the state") -> Any:
    """`tree` built as `like` is: the leaves of a dict come in its order.

    Args:
        what: names `tree` in the message, and `of` names `like`.

    Raises:
        Mismatch: it is of another structure, or a leaf is no tensor.
    """
    if isinstance(tree, Tensor) and isinstance(like, Tensor):
        return tree
    # What most states are, without a walk: each step of the reference loop asks.
    alike = type(tree) is type(like) and isinstance(tree, tuple) and isinstance(like, tuple) and len(tree) == len(like)
    if alike and all(isinstance(leaf, Tensor) for leaf in (*tree, *like)):
        return tree
    spec = pytree.tree_structure(like)
    try:
        leaves = spec.flatten_up_to(tree)
    except ValueError as error:
        raise _other(tree, like, what, of) from error
    if any(isinstance(part, Tensor) and not isinstance(leaf, Tensor) for part, leaf in _pairs(like, leaves)):
        raise _other(tree, like, what, of)
    _check_leaves(leaves, what)
    return pytree.tree_unflatten(leaves, spec)


def must_hold_tensors(tree: Any, what: str) -> None:
    """
    Raises:
        Mismatch: a leaf is no tensor.
    """
    if not isinstance(tree, Tensor):
        _check_leaves(pytree.tree_leaves(tree), what)


def must_be_tensor(out: Any) -> None:
    """
    Raises:
        Mismatch: what a step shows is not one tensor.
    """
    if not isinstance(out, Tensor):
        raise Mismatch(
            f"the output of a step must be one tensor [B, ...], and is {described(out)}; put its parts side by side "
            "with torch.cat, or carry them in the state"
        )


def both(given: Any) -> tuple[Tensor, Any]:
    """The output and the next state, of what a step gives.

    Raises:
        Mismatch: it does not give two, or the first is not one tensor.
    """
    if type(given) not in (tuple, list) or len(given) != 2:
        raise Mismatch(f"a step must give (output, next state), and this one gives {described(given)}")
    must_be_tensor(given[0])
    return given[0], given[1]


def _pairs(like: Any, leaves: list[Any]) -> Any:
    return zip(pytree.tree_leaves(like), leaves, strict=True)


def _other(tree: Any, like: Any, what: str, of: str) -> Mismatch:
    return Mismatch(f"{what} is {described(tree)}, and {of} is {described(like)}; both must be built alike")


def _check_leaves(leaves: list[Any], what: str) -> None:
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            hint = "leave it out" if leaf is None else "write it as a tensor [B, ...]"
            if hasattr(type(leaf), "__dataclass_fields__"):
                hint = "make it a NamedTuple, or register it with torch.export.register_dataclass"
            raise Mismatch(f"a leaf of {what} is {described(leaf)}, and must be a tensor; {hint}")


def described(tree: Any) -> str:
    """How a tree is built, such as "LSTMState(h, c)" or "(tensor, {'a': tensor})"."""
    if tree is None:
        return "None"
    if isinstance(tree, Tensor):
        return "tensor"
    if hasattr(type(tree), "_fields") and isinstance(tree, tuple):
        return f"{type(tree).__name__}({', '.join(type(tree)._fields)})"  # type: ignore[attr-defined]
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key!r}: {described(part)}" for key, part in tree.items()) + "}"
    if type(tree) in (tuple, list):
        parts = ", ".join(map(described, tree))
        return f"[{parts}]" if type(tree) is list else f"({parts}{',' if len(tree) == 1 else ''})"
    return f"of the type {type(tree).__name__}"
