"""Text that a trained language model writes."""

from collections.abc import Iterator
from typing import Any

from ...data.tokens import Tokenizer
from ...models import LanguageModel
from ...registry import near
from ...stream import Sampling, generate
from .corpus import Corpus
from .recipe import LanguageRecipe


def beginning(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The ids that a text begins with: the prompt's, or the end of the line before.

    Raises:
        ValueError: the prompt is empty and there is no such line end.
    """
    ids = tokenizer.encode(prompt).tolist() or ([] if tokenizer.eos is None else [tokenizer.eos])
    if not ids:
        raise ValueError("the prompt is empty: give at least one character to begin with")
    return ids


def known(tokenizer: Tokenizer, prompt: str, stop: str = "", way_out: str = "") -> None:
    """Checks that the model has seen every token of a prompt, and of the text to stop at.

    Args:
        way_out: what else the user may do about a prompt, to end the message.

    Raises:
        ValueError: it has not; the words that are near are given.
    """
    if strange := tokenizer.unknown_words(prompt):
        word = strange[0]
        hint = near(word, tokenizer.itos) if tokenizer.size <= 50_000 and len(word) > 1 else ""
        raise ValueError(
            f"the prompt has tokens that the model never saw ({', '.join(map(repr, strange[:5]))})"
            f"{hint if 'did you mean' in hint else ''}; change them{way_out}"
        )
    if never := tokenizer.unknown_words(stop):
        raise ValueError(f"the text to stop at has {never[0]!r}, which the model never saw and so never writes")


def written(
    model: LanguageModel, tokenizer: Tokenizer, prompt: str, count: int, sampling: dict[str, Any], stop: str = ""
) -> Iterator[str]:
    """What the model writes after `prompt`, piece by piece: up to `count` tokens, <unk> never among them.

    Args:
        sampling: arguments of `Sampling`.
        stop: the text ends with it.
    """
    ids = beginning(tokenizer, prompt)
    ends = tokenizer.encode(stop).tolist()
    settings = Sampling(**sampling, forbidden=() if tokenizer.unknown is None else (tokenizer.unknown,))
    shown = tokenizer.decode(ids)
    for token in generate(model, ids[:], count, settings, ends):
        ids.append(token)
        text = tokenizer.decode(ids)
        if not text.endswith("\ufffd"):  # a character whose bytes are not all there yet
            yield text[len(shown) :]
            shown = text


def samples(recipe: LanguageRecipe, model: LanguageModel, corpus: Corpus) -> Iterator[dict[str, str]]:
    """The texts that the recipe asks for."""
    s, tokenizer = recipe.samples, corpus.tokenizer
    if not s.tokens:
        return
    start = tokenizer.decode(corpus.splits["valid"].ids[:8])
    for number, prompt in enumerate(s.prompts or [start]):
        # Another seed for each: with one and the same, different prompts soon lead to the same words.
        seed = recipe.seed + number
        sampling = {"temperature": s.temperature, "top_k": s.top_k, "top_p": s.top_p, "seed": seed}
        text = "".join(written(model, tokenizer, prompt, s.tokens, sampling))
        settings = f"temperature {s.temperature}, top-k {s.top_k or 'off'}, top-p {s.top_p}, seed {seed}"
        yield {"prompt": prompt, "text": text, "settings": settings}
