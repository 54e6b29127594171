"""Diagrams of recurrent networks as text: Mermaid flowcharts and a chain of characters; `drawing` is the picture.

Node ids are plain identifiers; every label is quoted. The lectures' diagrams are here with their slips corrected:
the chain of S0 section 2.4 has all its inputs and its first state, no id is "...", as in S3 section 2.3.1, and the
arrows of S4 section 3.1 point forward in time.
"""

from typing import NamedTuple

from torch import nn

from .drawing import Chains, chains, drawing, looks_back
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
    state (a linear recurrence) the edge says "state". Of an encoder and a decoder each is unrolled for itself: the
    decoder reads y_{t-1} and begins from the encoder's last state, and with attention y_t sees all of its outputs.

    Raises:
        ValueError: fewer than one step, or the model has no recurrent part.
    """
    _check(steps)
    if (two := chains(model)) is not None and _recurrent(two.first) and _recurrent(two.second):
        return _flowchart("LR", _coupled_in_time(two, steps))
    layers = _recurrent(parts(model))
    if not layers:
        raise ValueError(f"a recurrent model was expected, and {type(model).__name__} has no part with a state")
    times = range(1, steps + 1)
    lines = [_node(f"x{t}", f"x_{t}", "input") for t in times]
    chain = _unrolled(layers, [f"x{t}" for t in times])
    lines += [*chain.nodes, *(_node(f"y{t}", f"y_{t}", "output") for t in times), *chain.edges]
    lines += [_edge(source, f"y{t}", "W_hy") for t in times for source in chain.tops[t - 1]]
    return _flowchart("LR", lines)


class _Unrolled(NamedTuple):
    nodes: list[str]
    edges: list[str]
    tops: list[list[str]]  # what the last layer gives at each step
    starts: list[list[str]]  # of each layer the state before the first step, in each direction
    ends: list[list[str]]  # of each layer the state after the last one


def _recurrent(found: list[Part]) -> list[Part]:
    return [part for part in found if part.direction != "none"]


def _unrolled(layers: list[Part], inputs: list[str], prefix: str = "") -> _Unrolled:
    """Layers one above the other, over the nodes `inputs`."""
    steps = len(inputs)
    chain = _Unrolled([], [], [], [], [])
    below = [[name] for name in inputs]
    several = len(layers) > 1
    for number, layer in enumerate(layers, start=1):
        mark = f"({number})" if several else ""
        carry = layer.carry + (mark if layer.carry == "W_hh" else "")
        stem = f"{number}_" if several else ""
        above = []
        chain.starts.append([])
        chain.ends.append([])
        # Two directions are two chains with weights of their own, b reading from the last step to the first.
        for letter, back in (("h", False),) if layer.direction == "forward" else (("f", False), ("b", True)):
            id_, name = f"{prefix}{letter}{stem}", {"h": "h", "f": "forward h", "b": "backward h"}[letter]
            shown = range(1, steps + 2) if back else range(steps + 1)
            chain.nodes.extend(_node(f"{id_}{t}", f"{name}{mark}_{t}", "state") for t in shown)
            for t in range(1, steps + 1):
                chain.edges.append(_edge(f"{id_}{t + 1 if back else t - 1}", f"{id_}{t}", carry + " back" * back))
                chain.edges.extend(_edge(one, f"{id_}{t}", "W_xh" + mark + " back" * back) for one in below[t - 1])
            chain.starts[-1].append(f"{id_}{steps + 1 if back else 0}")
            chain.ends[-1].append(f"{id_}{1 if back else steps}")
            above.append([f"{id_}{t}" for t in range(1, steps + 1)])
        below = [list(sources) for sources in zip(*above, strict=True)]
    return chain._replace(tops=below)


def _coupled_in_time(model: Chains, steps: int) -> list[str]:
    times = range(1, steps + 1)
    one = _unrolled(_recurrent(model.first), [f"x{t}" for t in times], "e")
    two = _unrolled(_recurrent(model.second), [f"r{t}" for t in times], "d")
    read = [_node(f"r{t}", f"y_{t - 1}", "input") for t in times]
    written = [_node(f"y{t}", f"y_{t}", "output") for t in times]
    out = [_edge(source, f"y{t}", "W_hy") for t in times for source in two.tops[t - 1]]
    between = []
    for number, starts in enumerate(two.starts):  # layers correspond from the top
        ends = one.ends[max(0, number + len(one.ends) - len(two.starts))]
        between += [_edge(end, start, "first state") for end in ends for start in starts]
    if any(map(looks_back, model.second)):
        seen = [source for sources in one.tops for source in sources]
        between += [_edge(source, f"y{t}", "attention") for t in times for source in seen]
    lower = [*(_node(f"x{t}", f"x_{t}", "input") for t in times), *one.nodes, *one.edges]
    upper = [*read, *two.nodes, *written, *two.edges, *out]
    return [*_group("first", model.names[0], lower), *_group("second", model.names[1], upper), *between]


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
    """The model as it is: one node a part, bottom up, a loop on every part that carries a state.

    An encoder and a decoder are a group each.
    """
    if (two := chains(model)) is not None:
        return _flowchart("BT", _coupled(two))
    nodes, edges = _pile(parts(model), "p", "x")
    top = f"p{len(nodes) - 1}" if nodes else "x"
    return _flowchart("BT", [_node("x", "x_t", "input"), *nodes, _node("y", "y_t", "output"), *edges, _edge(top, "y")])


def _pile(found: list[Part], letter: str, below: str) -> tuple[list[str], list[str]]:
    """Nodes and edges of parts one above the other, over the node `below`."""
    nodes, edges = [], []
    for i, part in enumerate(found):
        id_ = f"{letter}{i}"
        style = "state" if part.direction != "none" else "pointwise"
        nodes.append(_node(id_, f"{part.detail} ({part.parameters:,} parameters)", style))
        edges.append(_edge(below, id_))
        if part.direction != "none":
            carried = ", ".join(name.partition(" [")[0] for name in part.state) or "state"
            edges.append(_edge(id_, id_, carried + (", both ways" if part.direction == "both" else "")))
        below = id_
    return nodes, edges


def _coupled(model: Chains) -> list[str]:
    (low, low_edges), (high, high_edges) = _pile(model.first, "e", "x"), _pile(model.second, "d", "r")
    lower = [_node("x", "x_s", "input"), *low, *low_edges]
    upper = [_node("r", "y_{t-1}", "input"), *high, _node("y", "y_t", "output"), *high_edges]
    upper.append(_edge(f"d{len(high) - 1}", "y"))
    between, _ = _pile(model.between, "b", "")
    edges = [_edge(f"e{len(low) - 1}", f"d{i}", "memory") for i, part in enumerate(model.second) if looks_back(part)]
    ends = [f"e{i}" for i, part in enumerate(model.first) if part.direction != "none"]
    begins = [f"d{i}" for i, part in enumerate(model.second) if part.direction != "none"]
    for i in range(len(model.between)):
        edges += [_edge(end, f"b{i}", "last state") for end in ends] + [_edge(f"b{i}", begin) for begin in begins]
    return [*_group("first", model.names[0], lower), *between, *_group("second", model.names[1], upper), *edges]


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


def _group(id_: str, label: str, lines: list[str]) -> list[str]:
    return [f"subgraph {id_}[{_quoted(label)}]", *lines, "end"]


def _quoted(label: str) -> str:
    """A Mermaid string: what would end it or be read as markup becomes Mermaid's own entities."""
    for sign, entity in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), ("`", "#96;"), ("\n", " ")):
        label = label.replace(sign, entity)
    return f'"{label}"'
