"""The READMEs: what they show runs, and both say the same."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import typer

from ostinato.cli import app

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = (ROOT / name for name in ("README.md", "README.zh-CN.md"))
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path, language=None):
    """(language, code) of each fenced block, or the code of those in one language."""
    found = FENCED.findall(path.read_text(encoding="utf-8"))
    return found if language is None else [code for kind, code in found if kind == language]


def headings(path):
    text = FENCED.sub("", path.read_text(encoding="utf-8"))
    return [len(line) - len(line.lstrip("#")) for line in text.splitlines() if line.startswith("#")]


def commands():
    """The arguments of every `ostinato ...` line."""
    for block in blocks(ENGLISH, "sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if "ostinato" in words:
                yield words[words.index("ostinato") + 1 :]


@pytest.mark.parametrize("code", blocks(ENGLISH, "python"), ids=lambda code: code.strip().splitlines()[-1][:30])
def test_every_python_example_runs(code):
    torch.manual_seed(0)
    exec(compile(code, str(ENGLISH), "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_line_is_understood(words):
    """Parsed, not run: an option or a command that is not there raises."""
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    assert command.make_context(words[0], list(words[1:])).command is command


def test_the_first_example_has_at_most_twelve_lines():
    first = blocks(ENGLISH, "python")[0]
    assert 0 < len(first.strip().splitlines()) <= 12


def test_both_languages_show_the_same_code():
    assert len(blocks(ENGLISH)) > 5
    assert blocks(ENGLISH) == blocks(CHINESE)


def test_both_languages_have_the_same_parts():
    assert len(headings(ENGLISH)) > 10
    assert headings(ENGLISH) == headings(CHINESE)
    rows = [[line.count("|") for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
            for path in (ENGLISH, CHINESE)]  # fmt: skip
    assert rows[0] == rows[1]


def test_both_languages_give_the_same_figures():
    """Numbers measured for the tables stand in both, or in neither."""
    shown = [
        set(re.findall(r"\d+\.\d+|TBD[-A-Z0-9]+", path.read_text(encoding="utf-8"))) for path in (ENGLISH, CHINESE)
    ]
    assert shown[0] == shown[1]


@pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=lambda path: path.name)
def test_linked_files_exist(path):
    links = re.findall(r"\]\(([^)#:]+)\)", FENCED.sub("", path.read_text(encoding="utf-8")))
    assert len(links) >= 3
    assert [link for link in links if not (ROOT / link).exists()] == []
