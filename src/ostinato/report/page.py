"""The page around a report: head, style, and the few shapes of HTML that the sections are made of.

Nothing comes from outside: the page's own policy forbids it. Every piece of text goes through `escape`.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2530;--dim:#5b6675;--line:#e2e6eb;--paper:#fff;--back:#f5f6f8;--blue:#2563eb;
--mark:#eaf1ff}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ee;--dim:#9aa5b4;--line:#2c343f;--paper:#171c23;--back:#0f1318;
--blue:#7aa7ff;--mark:#1c2a44}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--back);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,"Noto Sans","Noto Sans CJK SC",sans-serif}
main,header,footer{max-width:1040px;margin:0 auto;padding:0 20px}
header{padding-top:40px}
h1{font-size:30px;line-height:1.2;margin:0;overflow-wrap:anywhere}
h2{font-size:19px;margin:0 0 12px}
h3{font-size:15px;margin:22px 0 8px}
p{margin:0 0 10px}
.dim,footer,figcaption{color:var(--dim);font-size:14px}
section{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:22px 24px;margin:18px 0}
nav{display:flex;flex-wrap:wrap;gap:4px 16px;margin:12px 0 0;font-size:14px}
a{color:var(--blue);text-decoration:none}
a:hover{text-decoration:underline}
.headline{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(190px,42%),1fr));gap:18px 26px}
.number b{display:block;font-size:24px;line-height:1.25;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.number.big b{font-size:46px;line-height:1.1;color:var(--blue)}
.number span{color:var(--dim);font-size:14px}
.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch;margin:0 -4px;padding:0 4px}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:7px 12px 7px 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--dim);font-weight:600;vertical-align:bottom}
td.n,th.n{text-align:right}
td.n{white-space:nowrap}
th.n{min-width:5.5em}
td.note{min-width:13em}
td.note,th.note{padding-left:14px}
.under{margin:8px 0 0}
td.name{min-width:13em}
td.name span{white-space:nowrap}
td.name .dim{font-size:12.5px;line-height:1.4}
tr.own td{background:var(--mark)}
tr.own td:first-child{border-left:3px solid var(--blue);padding-left:9px}
tr.sum td{font-weight:600}
code,pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{overflow-x:auto;margin:0;padding:12px 14px;background:var(--back);border:1px solid var(--line);border-radius:8px;
tab-size:4}
td code{white-space:nowrap}
figure{margin:0 0 8px}
figure svg{display:block;height:auto;color:var(--ink)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(380px,100%),1fr));gap:0 20px}
figure .chart svg{width:100%;max-width:640px}
figure .map svg{max-width:none}
figure .plan svg{width:100%;min-width:720px;max-width:1000px}
.drawing .sum{fill:var(--paper)}
.sample{border-left:3px solid var(--line);padding:2px 0 2px 14px;margin:0 0 18px}
.sample p{white-space:pre-wrap;overflow-wrap:anywhere;margin:0}
.sample .word{border-radius:3px;padding:1px 2px;-webkit-box-decoration-break:clone;box-decoration-break:clone}
.sample .at{outline:2px solid var(--blue)}
.sample mark{background:var(--mark);color:inherit;border-radius:3px}
.notes{margin:16px 0 0;padding-left:1.2em}
details{margin:8px 0}
summary{cursor:pointer;color:var(--blue);font-size:15px;padding:4px 0}
dl{display:grid;grid-template-columns:minmax(8em,max-content) 1fr;gap:5px 18px;margin:0;font-size:15px}
dt{color:var(--dim)}
dd{margin:0;overflow-wrap:anywhere}
footer{padding-bottom:40px}
@media (max-width:560px){main,header,footer{padding-left:12px;padding-right:12px}section{padding:16px 14px}
th.kind,td.kind{display:none}td.name{min-width:7.5em}th,td{padding-right:8px}
h1{font-size:25px}.number.big b{font-size:38px}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:8px}}
@media print{body{background:#fff}section{break-inside:avoid;border:0;padding:8px 0}nav{display:none}}
"""


class Section(NamedTuple):
    """One card of the page; without a body it is left out."""

    id: str
    title: str
    body: str  # HTML


def page(title: str, intro: str, sections: Iterable[Section], footer: str) -> str:
    """The whole document. `title` is text; `intro`, the sections' bodies and `footer` are HTML."""
    shown = [section for section in sections if section.body]
    links = "".join(f'<a href="#{section.id}">{escape(section.title)}</a>' for section in shown)
    cards = "\n".join(
        f'<section id="{section.id}" aria-labelledby="{section.id}-title">'
        f'<h2 id="{section.id}-title">{escape(section.title)}</h2>\n{section.body}\n</section>'
        for section in shown
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<header><h1>{escape(title)}</h1>\n{intro}\n<nav aria-label="Sections">{links}</nav></header>\n'
        f"<main>\n{cards}\n</main>\n<footer>{footer}</footer>\n</body>\n</html>\n"
    )


def number(value: object, words: str, big: bool = False) -> str:
    """A figure to be read from afar, with what it is below. Both are text."""
    kind = "number big" if big else "number"
    return f'<div class="{kind}"><b>{escape(str(value))}</b><span>{escape(words)}</span></div>'


class Column(NamedTuple):
    """How one column of a table is headed and set."""

    title: str
    kind: str = ""  # "n": numbers, to the right; "note": words, not squeezed; "kind": not on a phone


def table(columns: Sequence[Column], rows: Iterable[tuple[str, Sequence[str]]], label: str) -> str:
    """A table in a box of its own that scrolls. Rows are (class, cells); cells are HTML."""
    head = "".join(f'<th scope="col"{_class(column.kind)}>{escape(column.title)}</th>' for column in columns)
    body = "\n".join(
        f"<tr{_class(kind)}>"
        + "".join(f"<td{_class(column.kind)}>{cell}</td>" for column, cell in zip(columns, cells, strict=True))
        + "</tr>"
        for kind, cells in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def titled(name: str, note: str) -> str:
    """A table's cell: a name, and a remark below it. Both are text."""
    return f"<span>{escape(name)}</span>" + (f'<div class="dim">{escape(note)}</div>' if note else "")


def picture(svg: str, label: str, caption: str = "", kind: str = "chart") -> str:
    """An inline SVG with a name for those who cannot see it; `kind` is chart, plan or map."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure><div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">'
        f'<div class="{kind}" role="img" aria-label="{escape(label)}">{svg}</div></div>{below}</figure>'
    )


def folded(title: str, texts: Iterable[tuple[str, str]]) -> str:
    """Texts to copy, closed until they are wanted; each is (heading, text), and a heading may be ""."""
    body = "".join((f"<h3>{escape(heading)}</h3>" if heading else "") + pre(text) for heading, text in texts)
    return more(title, body)


def more(title: str, body: str) -> str:
    """HTML that is closed until it is wanted. `title` is text."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def pre(text: str) -> str:
    """Text as it stands."""
    return f'<pre tabindex="0">{escape(text)}</pre>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values, both text; empty values are left out."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs if value)
    return f"<dl>{rows}</dl>" if rows else ""


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
