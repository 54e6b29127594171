"""Quality of translations by sacrebleu (Post 2018), with the signature that makes a figure comparable.

Needs the extra `mt`: pip install "ostinato[mt]".
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

TOKENIZERS = ("13a", "zh", "char", "intl", "ja-mecab", "ko-mecab", "none")


class Quality(NamedTuple):
    """A figure and how it was made."""

    score: float  # 0..100
    signature: str  # of sacrebleu: references, case, tokeniser, smoothing, version


def bleu(
    translations: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]], tokenize: str = "13a"
) -> Quality:
    """Corpus BLEU (Papineni et al. 2002) of raw, detokenised text: sacrebleu does the tokenising.

    Args:
        translations: one text a sentence.
        references: one text a sentence, or several sets of them.
        tokenize: "13a" (the default of WMT), "zh" for Chinese references, or another of sacrebleu's.

    Raises:
        ImportError: sacrebleu is not installed.
        ValueError: there is no sentence, the numbers of sentences differ, or no tokeniser has that name.
    """
    if tokenize not in TOKENIZERS:
        raise ValueError(f"tokenize must be one of {', '.join(TOKENIZERS)}, and is {tokenize!r}; take 'zh' for Chinese")
    # force: no warning where sentences end in " .": it speaks of an option that nobody here has.
    return _corpus(_metrics().BLEU(tokenize=tokenize, force=True), translations, references)


def chrf(translations: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]]) -> Quality:
    """Corpus chrF2, the F-score of character n-grams (Popović 2015); arguments and errors as for `bleu`."""
    return _corpus(_metrics().CHRF(), translations, references)


def _corpus(metric: Any, translations: Sequence[str], references: Sequence[str] | Sequence[Sequence[str]]) -> Quality:
    if isinstance(translations, str) or isinstance(references, str):
        raise ValueError(
            "translations and references are lists with one text a sentence, and one came as a single text"
        )
    sets = [list(references)] if references and isinstance(references[0], str) else [list(r) for r in references]
    if not translations:
        raise ValueError("there is no translation to judge")
    for number, texts in enumerate(sets):
        if len(texts) != len(translations):
            raise ValueError(
                f"{len(translations)} translations came with {len(texts)} references in set {number}; give each one"
            )
    found = metric.corpus_score(list(translations), sets)
    return Quality(float(found.score), str(metric.get_signature()))


def _metrics() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError as error:
        raise ImportError('BLEU and chrF are computed by sacrebleu: pip install "ostinato[mt]"') from error
    return metrics
