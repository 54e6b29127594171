"""One tiny text, one tiny run on it, and the command line as a function; most tests share them."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

import pytest
import torch

from ostinato.cli import main
from ostinato.kernels import compiler, dispatch
from tiny import SMALL, Command, Said, options, sentences

# Sums in another order differ in their last bit, and much here is compared bit for bit. Besides, two threads that
# wait for each other on a busy machine make small networks twenty times slower.
torch.set_num_threads(1)
# What is compiled stays beside what pytest keeps, not in the home of whoever runs the tests.
os.environ.setdefault("OSTINATO_CACHE", str(Path(__file__).parents[1] / ".pytest_cache" / "ostinato"))
# A kernel is compiled for each cell and each width, a second or two: only where a test asks for it.
dispatch.PREFERENCE["cpu"] = ("aten",)
# What each pass of the compiler gives is checked.
compiler.VERIFY = True


@pytest.fixture(scope="session")
def cli() -> Command:
    """The command line, in this process: cli("train", "language") gives its exit code and what it printed."""

    def call(*words: object) -> Said:
        out, err, code = StringIO(), StringIO(), 0
        with redirect_stdout(out), redirect_stderr(err), mock.patch.object(sys, "argv", ["ostinato", *map(str, words)]):
            try:
                main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return Said(code, out.getvalue(), err.getvalue())

    return call


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of 200 lines."""
    path = tmp_path_factory.mktemp("text") / "lines.txt"
    path.write_text(sentences(200), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(cli: Command, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run on `text`. Do not write into it: take a copy."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    said = cli("train", "language", "--text", text, "--run", folder, *options(*SMALL))
    assert said.code == 0, said.err
    return folder


@pytest.fixture(autouse=True)
def listening_to_ctrl_c() -> Iterator[None]:
    """A shell starts what runs in the background with SIGINT ignored; these tests press Ctrl-C all the same."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
