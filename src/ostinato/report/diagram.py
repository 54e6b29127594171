"""Diagrams of recurrent networks as text: Mermaid flowcharts and a chain of characters; `drawing` is the picture.

Node ids are plain identifiers; every label is quoted. The lectures' diagrams are here with their slips corrected:
the chain of S0 section 2.4 has all its inputs and its first state, no id is "...", as in S3 section 2.3.1, and the
arrows of S4 section 3.1 point forward in time.
"""

from torch import nn

from .drawing import drawing
from .parts import Part, parts

__all__ = [
    "Part",
    "ascii_chain",
    "drawing",
    "mermaid_bidirectional",
    "mermaid_chain",
    "mermaid_model",
    "mermaid_unrolled",
    "parts",
]

_STYLES = (
    "classDef input fill:#e0ecff,stroke:#2f6fde,color:#12233f",
    "classDef state fill:#ffe9d6,stroke:#d9730d,color:#3f220a",
    "classDef output fill:#dcf5e3,stroke:#238b45,color:#0d3319",
    "classDef pointwise fill:#eceff3,stroke:#6b7684,color:#1b1f24",
)


def mermaid_chain(steps: int = 3) -> str:
    """The simple chain: h_{t-1} and x_t make h_t, and y_t hangs off h_t.

    Raises:
        ValueError: fewer than one step.
    """
    _check(steps)
    lines = [_node("h0", "h_0", "state")]
    for t in range(1, steps + 1):
        lines += [_node(f"x{t}", f"x_{t}", "input"), _node(f"h{t}", f"h_{t}", "state")]
        lines += [_node(f"y{t}", f"y_{t}", "output")]
    for t in range(1, steps + 1):
        lines += [f"h{t - 1} --> h{t}", f"x{t} --> h{t}", f"h{t} --> y{t}"]
    return _flowchart("LR", lines)


def mermaid_unrolled(model: nn.Module, steps: int = 3) -> str:
    """The model's recurrent layers unrolled: x_t -> h_t -> y_t, with the SAME weight W_hh on every edge in time.

    Several layers stand one above the other and number their weights: W_hh(1), W_hh(2). Where no weight acts on the
    state (a linear recurrence) the edge says "state".

    Raises:
        ValueError: fewer than one step, or the model has no recurrent part.
    """
    _check(steps)
    layers = [part for part in parts(model) if part.direction != "none"]
    if not layers:
        raise ValueError(f"a recurrent model was expected, and {type(model).__name__} has no part with a state")
    times = range(1, steps + 1)
    lines = [_node(f"x{t}", f"x_{t}", "input") for t in times]
    edges = []
    below = [[f"x{t}"] for t in times]
    several = len(layers) > 1
    for number, layer in enumerate(layers, start=1):
        mark = f"({number})" if several else ""
        carry = layer.carry + (mark if layer.carry == "W_hh" else "")
        stem = f"{number}_" if several else ""
        above = []
        # Two directions are two chains with weights of their own, b reading from the last step to the first.
        for letter, back in (("h", False),) if layer.direction == "forward" else (("f", False), ("b", True)):
            id_, name = f"{letter}{stem}", {"h": "h", "f": "forward h", "b": "backward h"}[letter]
            shown = range(1, steps + 2) if back else range(steps + 1)
            lines += [_node(f"{id_}{t}", f"{name}{mark}_{t}", "state") for t in shown]
            for t in times:
                edges.append(_edge(f"{id_}{t + 1 if back else t - 1}", f"{id_}{t}", carry + " back" * back))
                edges += [_edge(source, f"{id_}{t}", "W_xh" + mark + " back" * back) for source in below[t - 1]]
            above.append([f"{id_}{t}" for t in times])
        below = [list(sources) for sources in zip(*above, strict=True)]
    lines += [_node(f"y{t}", f"y_{t}", "output") for t in times]
    edges += [_edge(source, f"y{t}", "W_hy") for t in times for source in below[t - 1]]
    return _flowchart("LR", lines + edges)


def mermaid_bidirectional(steps: int = 3) -> str:
    """Two chains over the same input, one in each direction of time; y_t reads both.

    Raises:
        ValueError: fewer than one step.
    """
    _check(steps)
    times = range(1, steps + 1)
    lines = [_node(f"x{t}", f"x_{t}", "input") for t in times]
    lines += [_node(f"f{t}", f"forward h_{t}", "state") for t in range(steps + 1)]
    lines += [_node(f"b{t}", f"backward h_{t}", "state") for t in range(1, steps + 2)]
    lines += [_node(f"y{t}", f"y_{t}", "output") for t in times]
    for t in times:
        lines += [f"f{t - 1} --> f{t}", f"b{t + 1} --> b{t}"]
        lines += [f"x{t} --> f{t}", f"x{t} --> b{t}", f"f{t} --> y{t}", f"b{t} --> y{t}"]
    return _flowchart("LR", lines)


def mermaid_model(model: nn.Module) -> str:
    """The model as it is: one node a part, bottom up, a loop on every part that carries a state."""
    lines, edges = [_node("x", "x_t", "input")], []
    below = "x"
    for i, part in enumerate(parts(model)):
        style = "state" if part.direction != "none" else "pointwise"
        lines.append(_node(f"p{i}", f"{part.detail} ({part.parameters:,} parameters)", style))
        edges.append(_edge(below, f"p{i}"))
        if part.direction != "none":
            carried = ", ".join(name.partition(" [")[0] for name in part.state) or "state"
            edges.append(_edge(f"p{i}", f"p{i}", carried + (", both ways" if part.direction == "both" else "")))
        below = f"p{i}"
    return _flowchart("BT", [*lines, _node("y", "y_t", "output"), *edges, _edge(below, "y")])


def ascii_chain(steps: int = 3) -> str:
    """The unrolled chain in characters; time runs to the right, and so do the arrows.

    Raises:
        ValueError: fewer than one step.
    """
    _check(steps)
    times = range(1, steps + 1)
    size = len(f"h{steps}")
    gap = " --> "
    margin = " " * (len("h0") + len(gap))

    def row(signs: list[str]) -> str:
        return (margin + (" " * len(gap)).join(f"{sign:<{size}}" for sign in signs)).rstrip()

    chain = "h0" + gap + gap.join(f"{f'h{t}':<{size}}" for t in times).rstrip()
    up = [row(["^"] * steps), row(["|"] * steps)]
    return "\n".join([row([f"y{t}" for t in times]), *up, chain, *up, row([f"x{t}" for t in times])])


def _check(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"a diagram needs at least one step, and {steps} were asked for")


def _flowchart(direction: str, lines: list[str]) -> str:
    return "\n".join([f"flowchart {direction}", *(f"    {line}" for line in [*lines, *_STYLES])]) + "\n"


def _node(id_: str, label: str, style: str) -> str:
    left, right = ("([", "])") if style == "state" else ("[", "]")
    return f"{id_}{left}{_quoted(label)}{right}:::{style}"


def _edge(source: str, target: str, label: str = "") -> str:
    return f"{source} -->|{_quoted(label)}| {target}" if label else f"{source} --> {target}"


def _quoted(label: str) -> str:
    """A Mermaid string: what would end it or be read as markup becomes Mermaid's own entities."""
    for sign, entity in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), ("`", "#96;"), ("\n", " ")):
        label = label.replace(sign, entity)
    return f'"{label}"'
