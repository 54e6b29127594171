"""Text to ids and back.

Byte-level BPE (training, encoding, decoding) is Hugging Face `tokenizers`, with GPT-2's split into words. The other
kinds are ours, since a split and a lookup in bulk are faster in plain Python and numpy than a call per word.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from torch import Tensor

from ostinato.data.bpe import encodings, entries, train_bpe
from ostinato.data.files import read_text
from ostinato.data.splitting import EOS, UNKNOWN, join_plain, join_words, split_jieba, split_spaces, split_words
from ostinato.registry import UnknownNameError, near
from ostinato.storage import atomic_write

FORMAT, VERSION = "ostinato tokenizer", 1
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

SPLIT: dict[str, Callable[[str], list[str]]] = {
    "word": split_words,
    "space": split_spaces,
    "char": list,
    "jieba": split_jieba,
}
KINDS = (*SPLIT, "byte", "bpe")
SPECIAL = {"word": (UNKNOWN, EOS), "space": (UNKNOWN, EOS), "char": (UNKNOWN,), "jieba": (UNKNOWN, EOS)}


class Tokenizer:
    """A vocabulary and the rule that cuts a text into its entries.

    | kind    | a token is                                                                  | unknown | eos |
    |---------|-----------------------------------------------------------------------------|---------|-----|
    | `word`  | a Unicode word or one punctuation mark; a newline is `<eos>`                | yes     | yes |
    | `space` | what stands between white space, for tokenised text; a newline is `<eos>`   | yes     | yes |
    | `char`  | a Unicode character, the newline too; the choice for Chinese                | yes     | no  |
    | `jieba` | a Chinese word, found by jieba (`pip install "ostinato[zh]"`)               | yes     | yes |
    | `byte`  | a byte of the UTF-8 text                                                    | no      | no  |
    | `bpe`   | a frequent run of bytes (tokens shown in GPT-2's alphabet, a space as Ġ)    | no      | no  |

    Ids run from the most frequent token to the least, ties by first appearance; `byte` is in byte order, `bpe` in the
    order of its merges. Decoding what was encoded gives the text back exactly for `byte`, `bpe`, and for `char` where
    no character is unknown. Make one with `train`, `from_json` or `load`.
    """

    def __init__(self, kind: str, itos: list[str], bpe: tokenizers.Tokenizer | None = None) -> None:
        self._kind = _known(kind)
        self._itos = itos
        self._stoi = {token: index for index, token in enumerate(itos)}
        self._bpe = bpe
        self._table = self._code_points() if kind == "char" else None

    @staticmethod
    def train(kind: str, text: str | Iterable[str], *, min_count: int = 1, max_size: int | None = None) -> "Tokenizer":
        """The tokenizer of `kind` for `text`: one text, or several that are counted together.

        Tokens seen fewer than `min_count` times, and the rarest beyond `max_size` entries (`<unk>` and `<eos>` among
        them), become `<unk>`. For `bpe` these are the least count of a merge and the size (8192 unless told; at least
        256). Raises ValueError for an unknown kind, a text without tokens and sizes that cannot be; ImportError for
        `jieba` without jieba.
        """
        _known(kind)
        texts = [text] if isinstance(text, str) else text
        if min_count < 1:
            raise ValueError(f"min_count must be 1 or more, got {min_count}; 1 keeps every token")
        if kind == "byte":
            if min_count > 1 or max_size not in (None, 256):
                raise ValueError("kind 'byte' always has its 256 entries; leave min_count and max_size out")
            return Tokenizer("byte", BYTES)
        if kind == "bpe":
            bpe = train_bpe(texts, min_count, max_size)
            return Tokenizer("bpe", entries(bpe), bpe)
        counts: Counter[str] = Counter()
        for part in texts:
            counts.update(SPLIT[kind](part))
        if not counts:
            raise ValueError(f"a vocabulary of kind {kind!r} needs text, but the text has no token; give more of it")
        return Tokenizer(kind, _vocabulary(counts, SPECIAL[kind], min_count, max_size))

    @property
    def kind(self) -> str:
        return self._kind

    @property
    def size(self) -> int:
        """The number of entries; ids lie below it."""
        return len(self._itos)

    @property
    def stoi(self) -> dict[str, int]:
        """Token to id. Do not change it."""
        return self._stoi

    @property
    def itos(self) -> list[str]:
        """Id to token. Do not change it."""
        return self._itos

    @property
    def unknown(self) -> int | None:
        """The id of `<unk>`, None for kinds to which no text is unknown."""
        return None if self._kind in ("byte", "bpe") else self._stoi[UNKNOWN]

    @property
    def eos(self) -> int | None:
        """The id of `<eos>`, the end of a line; None for kinds that keep the newline as it is."""
        return None if self._kind in ("byte", "bpe", "char") else self._stoi[EOS]

    def tokens(self, text: str) -> list[str]:
        """The text cut into tokens, before any becomes `<unk>`."""
        if self._kind == "byte":
            return [BYTES[byte] for byte in text.encode()]
        if self._bpe is not None:
            return list(chain.from_iterable(part.tokens for part in encodings(self._bpe, text)))
        return SPLIT[self._kind](text)

    def encode(self, text: str) -> np.ndarray:
        """The ids of the text's tokens, int64 [N]."""
        if self._kind == "byte":
            return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)
        if self._table is not None:
            codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
            return self._table[np.minimum(codes, len(self._table) - 1)]
        if self._bpe is not None:
            return np.fromiter(chain.from_iterable(part.ids for part in encodings(self._bpe, text)), np.int64)
        tokens = self.tokens(text)
        return np.fromiter(map(self._stoi.get, tokens, repeat(self.unknown)), np.int64, len(tokens))

    def decode(self, ids: Iterable[int] | np.ndarray | Tensor) -> str:
        """The text of `ids`, [N] of any integer type; `<eos>` becomes a newline.

        `word` and `space` are joined readably: no space before a comma, and `do n't` becomes `don't` in `space` (for
        the text as it was tokenised, join `itos` of the ids with spaces). Bytes that are not UTF-8, which a model may
        well produce, become U+FFFD. Raises ValueError for an id outside the vocabulary and for more than one row.
        """
        if isinstance(ids, np.ndarray | Tensor) and ids.ndim != 1:
            raise ValueError(f"ids [N] were expected, got the shape {tuple(ids.shape)}; decode one row at a time")
        listed: list[int] = ids.tolist() if isinstance(ids, np.ndarray | Tensor) else list(ids)
        if listed and not 0 <= min(listed) <= max(listed) < self.size:
            wrong = next(index for index in listed if not 0 <= index < self.size)
            raise ValueError(f"ids must lie from 0 to {self.size - 1}, got {wrong}; was another tokenizer used?")
        if self._kind == "byte":
            return bytes(listed).decode("utf-8", "replace")
        if self._bpe is not None:
            return self._bpe.decode(listed, skip_special_tokens=False)
        tokens = map(self._itos.__getitem__, listed)
        if self._kind == "char":
            return "".join(tokens)
        return join_plain(tokens) if self._kind == "jieba" else join_words(tokens, clitics=self._kind == "space")

    def unknown_words(self, text: str) -> list[str]:
        """The different tokens of the text that become `<unk>`, in order of first appearance."""
        if self.unknown is None:
            return []
        return [token for token in dict.fromkeys(self.tokens(text)) if token not in self._stoi]

    def to_json(self) -> str:
        """All of it as JSON text, from which `from_json` makes an equal one."""
        body: dict[str, Any] = {"format": FORMAT, "version": VERSION, "kind": self._kind}
        if self._bpe is not None:
            body["bpe"] = json.loads(self._bpe.to_str())
        elif self._kind != "byte":
            body["itos"] = self._itos
        return json.dumps(body, ensure_ascii=False)

    @staticmethod
    def from_json(text: str) -> "Tokenizer":
        """The tokenizer that `to_json` wrote. Raises ValueError where the text is not of that form."""
        try:
            body = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"a tokenizer's JSON was expected, but this is none ({error}); save it again") from error
        if not isinstance(body, dict) or body.get("format") != FORMAT:
            raise ValueError(f"a tokenizer's JSON was expected, with format {FORMAT!r}; this is something else")
        if body.get("version") != VERSION:
            raise ValueError(
                f"version {VERSION} is read here, this tokenizer's is {body.get('version')}; update ostinato"
            )
        kind = _known(str(body.get("kind")))
        if kind == "byte":
            return Tokenizer(kind, BYTES)
        if kind == "bpe":
            try:
                bpe = tokenizers.Tokenizer.from_str(json.dumps(body.get("bpe")))
                return Tokenizer(kind, entries(bpe), bpe)
            except Exception as error:  # tokenizers raises bare Exception
                raise ValueError(f"this tokenizer's bpe part is broken ({error}); save it again") from error
        itos = body.get("itos")
        if not isinstance(itos, list) or not all(isinstance(token, str) for token in itos):
            itos = []
        if len(set(itos)) < len(itos) or not set(SPECIAL[kind]) <= set(itos):
            needed = " and ".join(SPECIAL[kind])
            raise ValueError(
                f"the vocabulary (itos) must be a list of strings, with {needed} and none twice; save it again"
            )
        if kind == "char" and any(len(token) != 1 for token in itos if token != UNKNOWN):
            raise ValueError("the vocabulary (itos) of kind 'char' must hold single characters; save it again")
        return Tokenizer(kind, itos)

    def save(self, path: str | Path) -> None:
        """Write `to_json` to a file, whole or not at all."""
        atomic_write(path, self.to_json().encode())

    @staticmethod
    def load(path: str | Path) -> "Tokenizer":
        """Read what `save` wrote. Raises FileNotFoundError for a missing file, ValueError for a broken one."""
        text = read_text(path)
        try:
            return Tokenizer.from_json(text)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def _code_points(self) -> np.ndarray:
        # One entry beyond the largest known code point: whatever lies above is sent there and is unknown.
        known = {ord(token): index for token, index in self._stoi.items() if token != UNKNOWN}
        table = np.full(max(known, default=0) + 2, self._stoi[UNKNOWN], dtype=np.int64)
        table[list(known)] = list(known.values())
        return table


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise UnknownNameError(f"no kind of token is called {kind!r}{near(kind, KINDS)}")
    return kind


def _vocabulary(counts: Counter[str], special: tuple[str, ...], min_count: int, max_size: int | None) -> list[str]:
    if max_size is not None and max_size <= len(special):
        raise ValueError(
            f"max_size must be above {len(special)}, to hold more than {' and '.join(special)}; got {max_size}"
        )
    # Sorting is stable and a Counter keeps the order of insertion, so ties stay in order of first appearance.
    ranked = [token for token, count in counts.most_common() if count >= min_count and token not in special]
    if max_size is not None:
        ranked = ranked[: max_size - len(special)]
    weight = {token: counts[token] for token in [*ranked, *special]}
    # `<unk>` stands where its share of the text puts it: its own count and that of all that became it.
    weight[UNKNOWN] += counts.total() - sum(weight.values())
    return sorted(weight, key=lambda token: -weight[token])
