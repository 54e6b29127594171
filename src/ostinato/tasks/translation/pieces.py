"""Tokens one by one as text that a person can read: for pictures."""

from collections.abc import Iterator, Sequence

from ...data.tokens import Tokenizer

BLANK = "␣"
CUT = "…"


def pieces(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """Each of a sentence's tokens, of whatever kind.

    A character whose bytes lie in several tokens stands at each of them, with … where it is cut: é as "é…" and "…é".
    Bytes that are no character, and what cannot be printed, are escaped: "\\xc3". White space around a token is left
    out; of white space alone there is "␣".
    """
    if tokenizer.kind not in ("bpe", "byte"):
        return [_visible(tokenizer.itos[i]) for i in ids]
    parts = [_bytes(tokenizer, i) for i in ids]
    characters = list(_characters(b"".join(parts)))
    at = [number for number, (first, end, _) in enumerate(characters) for _ in range(first, end)]
    shown, start = [], 0
    for part in parts:
        stop = start + len(part)
        own = characters[at[start] : at[stop - 1] + 1]
        text = _visible("".join(sign for _, _, sign in own))
        shown.append(CUT * (own[0][0] < start) + text + CUT * (own[-1][1] > stop))
        start = stop
    return shown


def _bytes(tokenizer: Tokenizer, i: int) -> bytes:
    return bytes([i]) if tokenizer.kind == "byte" else bytes(map(_BYTE.__getitem__, tokenizer.itos[i]))


def _alphabet() -> dict[str, int]:
    """GPT-2's: a byte that is a printable sign of Latin-1 is that sign, the others follow from U+0100 on."""
    signs = [byte for byte in range(256) if chr(byte).isprintable() and chr(byte) != " "]
    others = (byte for byte in range(256) if byte not in signs)
    return {chr(byte): byte for byte in signs} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE = _alphabet()


def _characters(raw: bytes) -> Iterator[tuple[int, int, str]]:
    """(first byte, end, as it is shown) of each character, and of each byte that belongs to none."""
    at = 0
    for sign in raw.decode("utf-8", "surrogateescape"):
        lone = "\udc80" <= sign <= "\udcff"
        size = 1 if lone else len(sign.encode())
        yield at, at + size, f"\\x{raw[at]:02x}" if lone else sign
        at += size


def _visible(text: str) -> str:
    signs = (sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text.strip())
    return "".join(signs) or BLANK
