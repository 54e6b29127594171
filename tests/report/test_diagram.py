"""Diagrams say what the model is: every node, every edge, in the direction of time."""

import itertools
import re
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn

from ostinato.cells import GRU, LSTM
from ostinato.layers import Bidirectional, Dropout, LearnedState, Pointwise, Pool, Residual, Stack
from ostinato.models import Labeller, Seq2Seq
from ostinato.models.embedder import CharacterReader, Embedder
from ostinato.models.heads import ClassHead, TagHead
from ostinato.recurrence import Recurrence
from ostinato.recurrent import Cell
from ostinato.report import (
    ascii_chain,
    drawing,
    mermaid_bidirectional,
    mermaid_chain,
    mermaid_model,
    mermaid_unrolled,
    parts,
)
from ostinato.report.raster import png

_NODE = re.compile(r'([A-Za-z][A-Za-z0-9_]*)(?:\["[^"]*"\]|\(\["[^"]*"\]\)):::(\w+)')
_EDGE = re.compile(r'([A-Za-z][A-Za-z0-9_]*) -->(?:\|"([^"]*)"\|)? ([A-Za-z][A-Za-z0-9_]*)')
_CLASS = re.compile(r"classDef (\w+) [\w:#,]+")
_GROUP = re.compile(r'subgraph (\w+)\["([^"]*)"\]')


def read(text: str) -> tuple[list[str], set[tuple[str, str, str]]]:
    """Nodes and edges of a flowchart. Fails on any line outside its grammar, any edge without its nodes, any double.

    The nodes of a group have its name before theirs: "decoder/y".
    """
    first, *lines = text.strip().split("\n")
    assert first in ("flowchart LR", "flowchart BT")
    nodes, edges, used, classes, group = [], [], set(), set(), ""
    places = {}
    for line in map(str.strip, lines):
        if (found := _GROUP.fullmatch(line)) or line == "end":
            assert bool(found) != bool(group), "no group lies in another, and each ends"
            group = f"{found[2]}/" if found else ""
        elif found := _NODE.fullmatch(line):
            nodes.append(found[1])
            places[found[1]] = group + found[1]
            used.add(found[2])
        elif found := _EDGE.fullmatch(line):
            edges.append((found[1], found[2] or "", found[3]))
        else:
            found = _CLASS.fullmatch(line)
            assert found, f"no line of a flowchart: {line}"
            classes.add(found[1])
    assert len(set(nodes)) == len(nodes) and len(set(edges)) == len(edges)
    assert {end for a, _, b in edges for end in (a, b)} <= set(nodes)
    assert used <= classes
    assert "end" not in nodes and not group  # a word of Mermaid's own
    return list(places.values()), {(places[a], label, places[b]) for a, label, b in edges}


class Language(nn.Module):
    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.body = Stack(Dropout(0.1), LSTM(8, 8), Residual(GRU(8, 8), nn.LayerNorm(8)))
        self.head = nn.Linear(8, 50)
        if tied:
            self.head.weight = self.embedding.weight


def translator(attention: str = "general", layers: int = 1) -> Seq2Seq:
    """Its encoder reads both ways."""
    encoder = Stack(*[Bidirectional(GRU(d, 3), GRU(d, 3)) for d in (4, 6)[:layers]])
    body = Stack(*[GRU(d, 5) for d in (4, 5)[:layers]])
    return Seq2Seq(20, 30, 4, encoder, 6, body, 5, attention)


class Leaky(Cell[Tensor]):
    """A recurrence without recurrent weights: h = (h + x) / 2."""

    recurrence = Recurrence("leaky", lambda gates, state: ((gates + state) / 2, (gates + state) / 2), linear=True)

    def __init__(self) -> None:
        super().__init__()
        self.w_in = nn.Linear(3, 4)

    def initial_state(self, batch: int) -> Tensor:
        return torch.zeros(batch, 4)

    def drive(self, x: Tensor) -> Tensor:
        return self.w_in(x)


def test_parts_are_in_the_order_of_the_data_with_sizes() -> None:
    found = parts(Language())
    assert [(part.name, part.kind, part.detail) for part in found] == [
        ("embedding", "pointwise", "Embedding 50 -> 8"),
        ("body.parts.0", "pointwise", "Dropout 0.1"),
        ("body.parts.1", "cell", "lstm 8 -> 8"),
        ("body.parts.2.norm", "pointwise", "LayerNorm 8"),
        ("body.parts.2.part", "cell", "gru 8 -> 8"),
        ("head", "pointwise", "Linear 8 -> 50"),
    ]
    assert found[2].state == ("h [B, 8]", "c [B, 8]")
    assert [part.skips for part in found[2:5]] == [(), ("body.parts.2",), ("body.parts.2",)]


@pytest.mark.parametrize(
    "model",
    [
        Language(),
        Language(tied=True),
        Stack(LearnedState(LSTM(3, 4)), Pointwise(nn.Linear(4, 2))),
        nn.LSTM(3, 4, num_layers=2, bidirectional=True),
        nn.Sequential(nn.Embedding(5, 3), Bidirectional(GRU(3, 4), GRU(3, 4)), nn.Linear(8, 2)),
        nn.Linear(2, 2),
        translator(),
    ],
)
def test_counts_of_the_parts_add_up_to_the_models(model: nn.Module) -> None:
    assert sum(part.parameters for part in parts(model)) == sum(p.numel() for p in model.parameters())


def test_a_tied_head_says_so_and_counts_its_bias_only() -> None:
    head = parts(Language(tied=True))[-1]
    assert (head.parameters, head.detail) == (50, "Linear 8 -> 50, tied")


def test_a_bidirectional_layer_is_as_wide_as_what_it_gives() -> None:
    layer = Bidirectional(GRU(3, 4), GRU(3, 4))
    assert parts(layer)[0].out == layer(torch.zeros(1, 2, 3))[0].shape[-1]


def test_the_chain_has_all_inputs_the_first_state_and_outputs_on_their_own_state() -> None:
    nodes, edges = read(mermaid_chain(3))
    assert set(nodes) == {"x1", "x2", "x3", "h0", "h1", "h2", "h3", "y1", "y2", "y3"}
    want = {("h0", "h1"), ("h1", "h2"), ("h2", "h3"), ("x1", "h1"), ("x2", "h2"), ("x3", "h3")}
    assert {(a, b) for a, _, b in edges} == want | {("h1", "y1"), ("h2", "y2"), ("h3", "y3")}


def test_the_same_recurrent_weight_stands_on_every_edge_in_time() -> None:
    nodes, edges = read(mermaid_unrolled(LSTM(2, 3), 3))
    assert {"h0", "x1", "x3", "y3"} <= set(nodes)
    assert {edge for edge in edges if edge[1] == "W_hh"} == {
        ("h0", "W_hh", "h1"),
        ("h1", "W_hh", "h2"),
        ("h2", "W_hh", "h3"),
    }
    assert {(a, b) for a, label, b in edges if label == "W_xh"} == {("x1", "h1"), ("x2", "h2"), ("x3", "h3")}
    assert {(a, b) for a, label, b in edges if label == "W_hy"} == {("h1", "y1"), ("h2", "y2"), ("h3", "y3")}
    assert len(edges) == 9


def test_each_layer_has_its_own_recurrent_weight() -> None:
    _, edges = read(mermaid_unrolled(Language(), 2))
    assert {edge for edge in edges if "W_hh" in edge[1]} == {
        ("h1_0", "W_hh(1)", "h1_1"),
        ("h1_1", "W_hh(1)", "h1_2"),
        ("h2_0", "W_hh(2)", "h2_1"),
        ("h2_1", "W_hh(2)", "h2_2"),
    }
    assert ("h1_2", "W_xh(2)", "h2_2") in edges


def test_a_recurrence_without_recurrent_weights_claims_none() -> None:
    _, edges = read(mermaid_unrolled(Leaky(), 2))
    assert ("h1", "state", "h2") in edges
    assert not any("W_hh" in label for _, label, _ in edges)


@pytest.mark.parametrize("text", [mermaid_bidirectional(3), mermaid_unrolled(Bidirectional(LSTM(2, 3), LSTM(2, 3)), 3)])
def test_the_two_directions_are_two_chains_that_meet_in_the_output(text: str) -> None:
    _, edges = read(text)
    pairs = {(a, b) for a, _, b in edges}
    want = {("f0", "f1"), ("f1", "f2"), ("f2", "f3"), ("b4", "b3"), ("b3", "b2"), ("b2", "b1")}
    want |= {(f"x{t}", f"{d}{t}") for t in (1, 2, 3) for d in "fb"} | {
        (f"{d}{t}", f"y{t}") for t in (1, 2, 3) for d in "fb"
    }
    assert pairs == want


def test_the_models_flowchart_has_a_loop_on_recurrent_parts_only() -> None:
    nodes, edges = read(mermaid_model(Language()))
    assert nodes == ["x", "p0", "p1", "p2", "p3", "p4", "p5", "y"]
    assert {(a, label) for a, label, b in edges if a == b} == {("p2", "h, c"), ("p4", "h")}
    chain = ["x", "p0", "p1", "p2", "p3", "p4", "p5", "y"]
    assert {(a, b) for a, _, b in edges if a != b} == set(itertools.pairwise(chain))


def test_labels_cannot_break_out_of_their_quotes() -> None:
    odd = type('Odd"] --> x<b>', (nn.Module,), {})()
    nodes, _ = read(mermaid_model(nn.Sequential(odd)))
    assert nodes == ["x", "p0", "y"]
    assert "<b>" not in mermaid_model(nn.Sequential(odd))


@pytest.mark.parametrize("steps", [1, 3, 12])
def test_the_character_chain_runs_forward_in_time(steps: int) -> None:
    lines = ascii_chain(steps).split("\n")
    assert len(lines) == 7
    chain = lines[3]
    assert re.split(r"\s*-->\s*", chain) == [f"h{t}" for t in range(steps + 1)]
    assert "<" not in chain
    for t in range(1, steps + 1):  # each step's input and output stand above and below its state
        column = re.search(rf"\bh{t}\b", chain).start()  # type: ignore[union-attr]
        assert [line[column] for line in lines] == ["y", "^", "|", "h", "^", "|", "x"]


def test_a_diagram_needs_a_step_and_an_unrolled_one_a_state() -> None:
    for draw in (mermaid_chain, mermaid_bidirectional, ascii_chain):
        with pytest.raises(ValueError, match="at least one step, and 0 were asked for"):
            draw(0)
    with pytest.raises(ValueError, match="Linear has no part with a state"):
        mermaid_unrolled(nn.Linear(2, 2))


SVG = "{http://www.w3.org/2000/svg}"


def svg(model: nn.Module) -> ElementTree.Element:
    return ElementTree.fromstring(drawing(model))


def said(root: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]


def test_the_drawing_shows_each_part_at_three_steps_with_shapes_and_states() -> None:
    words = said(svg(Language()))
    assert words.count("lstm") == words.count("gru") == words.count("Embedding") == words.count("Linear") == 3
    assert {"x1", "x2", "x3", "y1", "y2", "y3", "h, c0", "h, c1", "h, c2", "h, c3", "[B, 50]"} <= set(words)
    assert "then Dropout 0.1" in words


def boxes(root: ElementTree.Element) -> dict[str, list[tuple[float, float]]]:
    """Name -> the middle (x, y) of each of its boxes."""
    names = {(float(t.attrib["x"]), float(t.attrib["y"])): "".join(t.itertext()) for t in root.iter(f"{SVG}text")}
    found: dict[str, list[tuple[float, float]]] = {}
    for rect in root.iter(f"{SVG}rect"):
        x, y, w, h = (float(rect.attrib[key]) for key in ("x", "y", "width", "height"))
        middle = (x + w / 2, y + h / 2)
        found.setdefault(names[middle[0], middle[1] + 4.5], []).append(middle)
    return found


def paths(root: ElementTree.Element, **attributes: str) -> list[str]:
    given = {key.replace("_", "-"): value for key, value in attributes.items()}
    return [p.attrib["d"] for p in root.iter(f"{SVG}path") if given.items() <= p.attrib.items()]


@pytest.mark.parametrize("attention", ["none", "general"])
def test_an_encoder_and_a_decoder_are_two_drawings_and_attention_goes_from_one_to_the_other(attention: str) -> None:
    model = translator(attention)
    root = svg(model)
    words, found = said(root), boxes(root)
    assert {"encoder", "decoder", "x1", "x3", "y0", "y2", "y3"} <= set(words)
    counts = [int(w.split(" param")[0].replace(",", "")) for w in words if w.endswith(" parameters")]
    assert sum(counts) == sum(p.numel() for p in model.parameters())
    heights = {name: sorted({y for _, y in middles}) for name, middles in found.items()}
    above, below = heights["Embedding"]  # the decoder's, the encoder's
    (body,), (encoder,) = heights["gru"], heights["Bidirectional"]
    assert body < above < encoder < below
    # Nothing goes up from the encoder into the decoder's embedding: it reads what was written before.
    ups = re.findall(r"M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)", " ".join(paths(root)))
    assert not [up for up in ups if up[0] == up[2] and float(up[1]) > encoder - 23 and float(up[3]) < above + 23]
    looks = [d for d in paths(root, stroke_dasharray="4 4") if "V" in d]
    ends = {tuple(map(float, re.search(r"V([\d.]+)H([\d.]+)$", d).groups())) for d in looks}  # type: ignore[union-attr]
    assert ends == {(y, x + 56) for x, y in found.get("Attention", [])}
    assert len(ends) == (0 if attention == "none" else 3)
    assert len(png(drawing(model))) > 1000


def test_the_flowchart_of_an_encoder_and_a_decoder_is_two_groups() -> None:
    nodes, edges = read(mermaid_model(translator()))
    chain = ["encoder/x", "encoder/e0", "encoder/e1", "encoder/e2"]
    other = ["decoder/r", *(f"decoder/d{i}" for i in range(6)), "decoder/y"]
    assert {node for node in nodes if "/" in node} == set(chain + other)
    across = {(a, label, b) for a, label, b in edges if a.split("/")[0] != b.split("/")[0]}
    assert across == {
        ("encoder/e2", "memory", "decoder/d3"),
        ("encoder/e2", "last state", "b0"),
        ("b0", "", "decoder/d2"),
    }
    steps = set(itertools.pairwise(chain)) | set(itertools.pairwise(other))
    assert {(a, b) for a, label, b in edges if a != b} == steps | {(a, b) for a, _, b in across}


@pytest.mark.parametrize("layers", [1, 2])
def test_an_encoder_and_a_decoder_are_unrolled_each_for_itself(layers: int) -> None:
    model = translator(layers=layers)
    nodes, edges = read(mermaid_unrolled(model, 2))
    assert all("/" in node for node in nodes)
    across = {(a, label, b) for a, label, b in edges if a.split("/")[0] != b.split("/")[0]}
    stems = [""] if layers == 1 else ["1_", "2_"]
    begins = {(f"encoder/ef{s}2", "first state", f"decoder/dh{s}0") for s in stems}
    begins |= {(f"encoder/eb{s}1", "first state", f"decoder/dh{s}0") for s in stems}
    top = stems[-1]
    looks = {(f"encoder/e{d}{top}{s}", "attention", f"decoder/y{t}") for d in "fb" for s in (1, 2) for t in (1, 2)}
    assert across == begins | looks
    assert {(a, b) for a, _, b in edges if a.startswith("decoder/r")} == {
        (f"decoder/r{t}", f"decoder/dh{stems[0]}{t}") for t in (1, 2)
    }


@pytest.mark.parametrize(
    "model",
    [nn.Sequential(Language(), Bidirectional(GRU(50, 4), GRU(50, 4)), nn.Linear(8, 3)), translator(layers=2)],
)
def test_boxes_and_words_of_a_drawing_do_not_overlap(model: nn.Module) -> None:
    root = svg(model)
    width = float(root.attrib["width"])
    boxes = []
    for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
        x, y, w, h = (float(rect.attrib[key]) for key in ("x", "y", "width", "height"))
        boxes.append((x, y, x + w, y + h))
    for i, a in enumerate(boxes):
        assert a[0] >= 0 and a[2] <= width
        assert not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in boxes[:i])
    left = min(box[0] for box in boxes)
    for text in root.iter("{http://www.w3.org/2000/svg}text"):
        if text.attrib["text-anchor"] == "start":  # the words in the margin, at most 0.62 em a letter
            end = float(text.attrib["x"]) + 0.62 * float(text.attrib["font-size"]) * len("".join(text.itertext()))
            assert end < left


def test_a_deep_model_is_drawn_once_with_its_number_of_layers() -> None:
    deep = Stack(*[Residual(GRU(4, 4), nn.LayerNorm(4)) for _ in range(12)], Pointwise(nn.Linear(4, 2)))
    words = said(svg(deep))
    assert words.count("gru") == 3  # one layer, three steps
    assert any("× 12" in word for word in words)
    assert len(list(svg(deep).iter("{http://www.w3.org/2000/svg}circle"))) == 6 + 3  # x, y, and the residual's sums


def test_what_stands_side_by_side_is_one_part() -> None:
    letters = CharacterReader(9, 4, 3, LSTM)
    embedder, body = Embedder(50, 8, characters=letters, pairs=20), Bidirectional(LSTM(14, 4), LSTM(14, 4))
    heads = {"intent": ClassHead(Pool("max", 8), 3), "slots": TagHead(8, 5)}
    model = Labeller(embedder, body, heads, learned=True)
    found = parts(model)
    assert [part.name for part in found] == ["embedder", "body", "heads"]
    assert [part.out for part in found[:2]] == [embedder.d_out, 8]
    assert sum(part.parameters for part in found) == sum(p.numel() for p in model.parameters())
    assert found[2].detail == "Heads intent -> 3 classes, slots -> 5 tags"
    assert words(drawing(model)).count("Heads") == 3  # one a step, for tags are


def test_an_answer_a_row_is_drawn_once() -> None:
    model = Labeller(Embedder(50, 8), GRU(8, 4), {"label": ClassHead(Pool("max", 4), 3)})
    assert parts(model)[-1].pooled
    said = words(drawing(model))
    assert (said.count("Heads"), said.count("Embedding"), said.count("y")) == (1, 3, 1)


def words(svg: str) -> list[str]:
    """The texts of a picture, without the words left of it."""
    texts = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(text.itertext()).strip() for text in texts]
