"""The vocabulary as lines of source: what docs/own-cell.md promises, simplest first."""

from collections.abc import Callable, Sequence
from typing import Protocol

Line = tuple[str, tuple[str, ...]]  # a template and its operands


class Source(Protocol):
    """What an operation is drawn from."""

    @property
    def number(self) -> Callable[[int], int]: ...  # below another
    def choose(self, among: Sequence[str]) -> str: ...
    def row(self, least: int = 0) -> str: ...  # a value with a batch and so many axes of features
    def like(self, name: str) -> str: ...  # another that broadcasts with it
    def truth(self) -> str: ...
    def weight(self, *shape: int) -> str: ...
    def any_weight(self) -> str: ...
    def shape(self, name: str) -> tuple[int, ...]: ...  # of features


UNARY = (
    "{0}.tanh()", "{0}.sigmoid()", "-{0}", "{0}.abs()", "{0}.relu()", "{0}.exp()", "{0}.square()", "{0} ** 3",
    "({0} * 0.3).exp2()", "{0}.expm1()", "({0}.abs() + 0.5).log()", "({0}.abs() + 0.5).log2()",
    "({0}.abs() + 0.5).log10()", "{0}.abs().log1p()", "({0}.abs() + 0.2).sqrt()", "({0}.abs() + 0.2).rsqrt()",
    "({0}.abs() + 0.5).reciprocal()", "{0}.sign()", "{0}.floor()", "{0}.ceil()", "{0}.round()", "{0}.trunc()",
    "{0}.frac()", "({0}.abs() + 0.5) ** 0.7", "({0}.abs() + 0.5) ** -1.5", "2 ** {0}", "{0} ** 2", "{0} ** 4",
    "{0} ** 1", "{0} ** 0", "{0}.sin()", "{0}.cos()", "{0}.clamp(-1, 1).tan()", "(0.9 * {0}.tanh()).asin()",
    "(0.9 * {0}.tanh()).acos()", "{0}.atan()", "{0}.sinh()", "{0}.cosh()", "{0}.sinc()", "F.relu6({0})",
    "F.leaky_relu({0})", "F.leaky_relu({0}, 0.3)", "F.elu({0})", "F.elu({0}, 0.5)", "F.celu({0})", "F.celu({0}, 0.7)",
    "F.selu({0})", "F.silu({0})", "F.gelu({0})", 'F.gelu({0}, approximate="tanh")', "F.mish({0})", "F.softplus({0})",
    "F.softplus({0}, 2.0, 1.0)", "F.logsigmoid({0})", "F.hardtanh({0})", "F.hardtanh({0}, -0.3, 0.6)",
    "F.hardsigmoid({0})", "F.hardswish({0})", "{0}.erf()", "F.softshrink({0}, 0.2)", "F.hardshrink({0}, 0.2)",
    "F.softsign({0})", "F.tanhshrink({0})", "F.threshold({0}, 0.1, -0.2)", "{0}.detach()", "{0}.clone()",
    "{0}.to({0}.dtype)", "torch.zeros_like({0})", "torch.ones_like({0})", "torch.full_like({0}, 0.3)",
    "{0}.log()", "{0}.sqrt()", "{0}.reciprocal()", "{0}.asin()", "{0}.contiguous()", "torch.nan_to_num({0})",
)  # fmt: skip
BINARY = (
    "{0} + {1}", "{0} * {1}", "{0} - {1}", "{0} / ({1}.abs() + 0.5)", "{0} / {1}", "torch.minimum({0}, {1})",
    "torch.maximum({0}, {1})", "torch.atan2({0}, {1})", "torch.hypot({0}, {1})", "torch.lerp({0}, {1}, 0.3)",
    "({0}.abs() + 0.5) ** {1}", "torch.addcmul({0}, {1}, {1}, value=0.5)", "torch.addcdiv({0}, {1}, {1}.abs() + 1)",
    "torch.lerp({0}, {1}, {1}.sigmoid())", "{0}.clamp(min={1})", "torch.clamp({0}, -{1}.abs(), {1}.abs())",
    "torch.add({0}, {1}, alpha=0.3)", "torch.rsub({0}, {1})",
)  # fmt: skip
WITH_NUMBER = (
    "{0} * N", "{0} + N", "N - {0}", "{0} / N", "N / ({0}.abs() + 0.5)", "{0}.clamp(min=N)", "{0}.clamp(max=N)",
    "torch.where({0} > N, {0}, N)", "torch.where({0} <= N, N, {0})", "({0} / N).floor()", "({0} * N).round()",
    "{0}.masked_fill({0} < N, 0.3)", "torch.maximum({0}, torch.full_like({0}, N))",
)  # fmt: skip
NUMBERS = ("0.5", "2", "-1.5", "0.1", "3", "-1", "7", "0", "1")
TRUTHS = (
    "{0} > {1}", "{0} >= {1}", "{0} < {1}", "{0} <= {1}", "{0} == {1}", "{0} != {1}", "({0} > 0) & ({1} > 0)",
    "({0} > 0) | ({1} < 0)", "~({0} > {1})", "torch.logical_and({0}, {1})", "{0}.isnan()", "({0} > 0).any(-1, True)",
    "({0} > -1).all(-1, keepdim=True)",
)  # fmt: skip
CHOICES = (
    "torch.where({2}, {0}, {1})", "torch.where({2}, {0}, 0.5)", "{0}.masked_fill({2}, -0.7)", "{0} * {2}",
    "{2}.to({0}.dtype) - {0}", "torch.where({2} & ({0} > 0), {1}, {0})",
)  # fmt: skip
REDUCED = (
    "{0}.sum(AXES, keepdim=KEEP)", "{0}.mean(AXES, keepdim=KEEP)", "{0}.amax(AXES, keepdim=KEEP)",
    "{0}.amin(AXES, keepdim=KEEP)", "{0}.var(AXES, keepdim=KEEP)", "{0}.var(AXES, correction=0, keepdim=KEEP)",
    "{0}.std(AXES, keepdim=KEEP)", "{0}.norm(dim=AXES, keepdim=KEEP)", "{0}.norm(1, dim=AXES, keepdim=KEEP)",
    "{0}.logsumexp(AXES, keepdim=KEEP)", "{0}.square().sum(AXES, keepdim=KEEP)", "{0}.max(AXIS, keepdim=KEEP).values",
    "{0}.argmax(AXIS, keepdim=KEEP).to({0}.dtype)", "{0}.argmin(AXIS, keepdim=KEEP) * 0.1",
    "({0} > 0).sum(AXES, keepdim=KEEP) * 0.5", "({0} > 0).any(AXIS, keepdim=KEEP).to({0}.dtype)",
    "torch.linalg.vector_norm({0}, dim=AXES, keepdim=KEEP)", "{0}.abs().amax(AXES, keepdim=KEEP)",
)  # fmt: skip
ALONG = (
    "{0}.softmax(AXIS)", "{0}.log_softmax(AXIS)", "{0}.cumsum(AXIS)", "{0}.flip(AXIS)", "{0}.roll(1, AXIS)",
    "{0}.roll(-2, AXIS)", "F.normalize({0}, dim=AXIS)", "{0} - {0}.mean(AXIS, keepdim=True)",
    "{0} / (1 + {0}.norm(dim=AXIS, keepdim=True))", "F.softmin({0}, AXIS)", "{0}.chunk(2, AXIS)[0]",
    "{0}.chunk(2, AXIS)[-1]", "torch.cat([{0}, {0}], AXIS)", "torch.cat(torch.split({0}, 2, AXIS)[::-1], AXIS)",
    "torch.stack([{0}, -{0}], AXIS)", "{0}.narrow(AXIS, 0, 1)", "{0}.select(AXIS, -1)", "{0}.select(AXIS, 0)",
    "{0}.unsqueeze(AXIS)", "{0}.squeeze(AXIS)", "{0}.unbind(AXIS)[0]", "{0}.diff(dim=AXIS)",
    "{0}.repeat_interleave(2, AXIS)", "torch.cat([{0}, {0}.sum(AXIS, keepdim=True)], AXIS)",
)  # fmt: skip
LAST = (
    "{0}[..., 1:]", "{0}[..., :-1]", "{0}[..., :1]", "{0}[..., ::2]", "{0}[:, 1:]", "{0}[:, 0]", "{0}[:, -1:]",
    "F.pad({0}, (1, 0))", "F.pad({0}, (0, 2), value=0.5)", "F.pad({0}[..., 1:], (1, 0))", "{0}.flatten(1)",
    "{0}.unsqueeze(1)", "{0}[..., None]", "F.layer_norm({0}, {0}.shape[-1:])", "F.rms_norm({0}, {0}.shape[-1:])",
    "F.layer_norm({0}, {0}.shape[1:])", "F.group_norm({0}, 1)", "{0}.unflatten(-1, (-1, 2))",
    "{0}.unflatten(-1, (3, -1))", "{0}.view({0}.shape[0], -1)", "{0}.reshape({0}.shape[0], 2, -1)",
    "{0}.sum(-1, keepdim=True).expand({0}.shape)", "{0}.expand_as({0})",
)  # fmt: skip
GRID = ("{0}.transpose(-1, -2)", "{0}.mT", "{0}.permute(0, 2, 1)", "{0}.movedim(-1, 1)", "{0}.permute(0, 3, 1, 2)",
        "{0}.diagonal(dim1=-2, dim2=-1)", "{0}.tril()", "{0} @ {0}.mT", "{0}.transpose(1, 2).flatten(2)")  # fmt: skip
PAIRS = (
    "torch.cat([{0}, {1}], -1)", "torch.stack([{0}, {1}], 1)", "torch.cat([{0}, {1}], 1)",
    "{0}[..., :, None] * {1}[..., None, :]", "({0} * {1}).sum(-1, keepdim=True)", "torch.bmm({0}, {1})", "{0} @ {1}",
    "{0} @ {1}.mT", "({0} * {1}[..., None, :]).sum(-1)", "({0} * {1}[..., None]).sum(-2)",
    "({0} @ {1}[..., None]).squeeze(-1)", "({1}[..., None, :] @ {0}).squeeze(-2)",
    'torch.einsum("b...ij,b...j->b...i", {0}, {1})', 'torch.einsum("b...ij,b...i->b...j", {0}, {1})',
    'torch.einsum("b...i,b...j->b...ij", {0}, {1})', 'torch.einsum("b...i,b...i->b...", {0}, {1})',
    "({0} @ {1}.mT).softmax(-1) @ {1}", "F.cosine_similarity({0}, {1}, dim=-1)",
    "{0} + {1}[..., None] * {1}[..., None, :]", "{0} * {1}[..., None]", "{0} + {1}[..., None, :]",
    "{0} * {1}[:, None]",
)  # fmt: skip
WEIGHTS_ALONE = ("{0}.sigmoid()", "{0}.tanh()", "{0}.mT", "{0}.softmax(-1)", "{0} * 2", "{0}[..., :1]", "{0}.sum()",
                 "{0} / (1 + {0}.norm())", "{0}[0]", "{0}.flip(-1)", "-{0}.exp()", "{0}.mT @ {0}")  # fmt: skip


def alone(source: Source) -> Line:
    return source.choose(UNARY), (source.row(),)


def two(source: Source) -> Line:
    x = source.row()
    operands = x, source.like(x)
    return source.choose(BINARY), operands[:: source.choose(("1", "-1")) == "1" or -1]


def with_number(source: Source) -> Line:
    return source.choose(WITH_NUMBER).replace("N", source.choose(NUMBERS)), (source.row(),)


def with_weight(source: Source) -> Line:
    x = source.row()
    shape = source.shape(x)
    form = source.choose(("features", "scalar", "last", "one", "any"))
    sizes = {"features": shape, "last": shape[-1:], "one": (1,)}.get(form, ())
    return source.choose(BINARY), (x, source.any_weight() if form == "any" else source.weight(*sizes))


def product(source: Source) -> Line:
    x, columns = source.row(1), (1, 2, 3, 5, 7, 16, 17)[source.number(7)]
    *lead, last = source.shape(x)
    columns = columns if source.number(2) else last
    match source.choose(("{0} @ {1}", "mT", "linear", "bias", "addmm", "einsum", "einsum T", "heads", "vector", "own")):
        case "mT":
            return "{0} @ {1}.mT", (x, source.weight(columns, last))
        case "linear":
            return "F.linear({0}, {1})", (x, source.weight(columns, last))
        case "bias":
            return "F.linear({0}, {1}, {2})", (x, source.weight(columns, last), source.weight(columns))
        case "addmm":
            return "torch.addmm({2}, {0}, {1})", (x, source.weight(last, columns), source.weight(columns))
        case "einsum":
            return 'torch.einsum("b...i,ij->b...j", {0}, {1})', (x, source.weight(last, columns))
        case "einsum T":
            return 'torch.einsum("b...i,ji->b...j", {0}, {1})', (x, source.weight(columns, last))
        case "heads" if lead:
            w = source.weight(lead[-1], last, min(columns, 7))
            return 'torch.einsum("b...hi,hij->b...hj", {0}, {1})', (x, w)
        case "vector":
            return "{0} @ {1}", (x, source.weight(last))
        case "own" if lead:  # a weight from the left
            return "{1} @ {0}", (x, source.weight(min(columns, 7), lead[-1]))
    return "{0} @ {1}", (x, source.weight(last, columns))


def norm(source: Source) -> Line:
    x = source.row(1)
    n = source.shape(x)[-1]
    if source.number(2):
        return "F.rms_norm({0}, {0}.shape[-1:], {1})", (x, source.weight(n))
    return "F.layer_norm({0}, {0}.shape[-1:], {1}, {2})", (x, source.weight(n), source.weight(n))


def _axes(source: Source, template: str, x: str) -> Line:
    count = len(source.shape(x))
    axis = -1 - source.number(count)
    axes = str(axis) if source.number(3) or count < 2 else "(-2, -1)"
    keep = source.choose(("True", "False"))
    return template.replace("AXIS", str(axis)).replace("AXES", axes).replace("KEEP", keep), (x,)


def reduced(source: Source) -> Line:
    return _axes(source, source.choose(REDUCED), source.row(1))


def along(source: Source) -> Line:
    return _axes(source, source.choose(ALONG), source.row(1))


def last(source: Source) -> Line:
    return source.choose(LAST), (source.row(1),)


def grid(source: Source) -> Line:
    return source.choose(GRID), (source.row(2),)


def pair(source: Source) -> Line:
    return source.choose(PAIRS), (source.row(1), source.row(1))


def truth(source: Source) -> Line:
    x = source.row()
    return source.choose(TRUTHS), (x, source.like(x))


def choice(source: Source) -> Line:
    x = source.row()
    return source.choose(CHOICES), (x, source.like(x), source.truth())


def filled(source: Source) -> Line:
    x = source.row(1)
    n = source.shape(x)[-1]
    name = source.choose(("ones", "zeros", "arange", "eye"))
    return f"{{0}} + 0.5 * torch.{name}({n}, dtype={{0}}.dtype)", (x,)


def weights_alone(source: Source) -> Line:
    return source.choose(WEIGHTS_ALONE), (source.any_weight(),)


# How often each is drawn, in all.
FAMILIES: tuple[Callable[[Source], Line], ...] = (
    *[alone] * 6, *[two] * 6, *[with_number] * 2, *[with_weight] * 3, *[product] * 6, *[reduced] * 4, *[along] * 4,
    *[last] * 3, *[grid] * 2, *[pair] * 5, *[truth] * 2, *[choice] * 2, norm, weights_alone, filled,
)  # fmt: skip
