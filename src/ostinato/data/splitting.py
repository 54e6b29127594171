"""Text to tokens and back, for the kinds of tokens that are ours (all but byte-level BPE)."""

import re
import unicodedata
import warnings
from collections.abc import Iterable
from functools import cache

UNKNOWN, EOS = "<unk>", "<eos>"

# Written without a space before them, without a space after them, and (full-width) with a space on neither side.
CLOSING = frozenset(",.;:!?%)]}…")
OPENING = frozenset("([{¿¡")
FULL_WIDTH = frozenset("，。！？；：、…（）【】《》〈〉「」『』")
# The Penn Treebank's split contractions.
CLITICS = frozenset(["n't", "'s", "'re", "'ve", "'ll", "'d", "'m"])


@cache
def _word_pattern() -> re.Pattern[str]:
    # Python's \w leaves combining marks out, without which a word of Hindi or a decomposed é falls to pieces.
    marks = "".join(chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M")
    letter = rf"[\w{marks}]"
    return re.compile(rf"{UNKNOWN}|{EOS}|\n|\d+(?:[.,]\d+)+{letter}*|{letter}+(?:['’]{letter}+)*|\S")


def split_words(text: str) -> list[str]:
    """Unicode words (don't, 3.14, naïve) and single punctuation marks; a newline is `<eos>`."""
    return [EOS if token == "\n" else token for token in _word_pattern().findall(text)]


def split_spaces(text: str) -> list[str]:
    """What stands between white space; a newline is `<eos>`."""
    return text.replace("\n", f" {EOS} ").split()


def split_jieba(text: str) -> list[str]:
    """Chinese words, white space kept as tokens; a newline is `<eos>`.

    Raises ImportError if jieba is not installed.
    """
    try:
        with warnings.catch_warnings():
            # jieba's source holds escape sequences that newer Pythons warn of when they compile it.
            warnings.simplefilter("ignore")
            import jieba
    except ImportError as error:
        raise ImportError(
            "tokens of kind 'jieba' need the package jieba, which is not installed; "
            "pip install \"ostinato[zh]\", or take kind 'char'"
        ) from error
    # It reports the loading of its dictionary on stderr, as debugging output.
    jieba.setLogLevel("WARNING")
    tokens: list[str] = []
    for piece in re.split(rf"({UNKNOWN}|{EOS}|\n)", text):
        tokens += [EOS] if piece == "\n" else [piece] if piece in (UNKNOWN, EOS) else jieba.lcut(piece)
    return tokens


def join_words(tokens: Iterable[str], clitics: bool = False) -> str:
    """Readable text: no space before a comma or behind an opening bracket, a newline for `<eos>`.

    `split_words` of it gives the tokens again. With `clitics`, `do n't` becomes `don't`.
    """
    pieces: list[str] = []
    glued = True
    for token in tokens:
        if token == EOS:
            pieces.append("\n")
            glued = True
            continue
        if not (glued or token in CLOSING or token in FULL_WIDTH or (clitics and token in CLITICS)):
            pieces.append(" ")
        pieces.append(token)
        glued = token in OPENING or token in FULL_WIDTH
    return "".join(pieces)


def join_plain(tokens: Iterable[str]) -> str:
    """The tokens as they are, a newline for `<eos>`."""
    return "".join("\n" if token == EOS else token for token in tokens)
