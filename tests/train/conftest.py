"""The text that the loop learns from, and the run on it that is never stopped."""

from pathlib import Path

import pytest

from ostinato.tasks.language import Corpus
from small_loop import LAST, quiet, read, trainer


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return read(tmp_path_factory.mktemp("loop") / "text.txt", 80)


@pytest.fixture(scope="session")
def unstopped(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints of the run that is never stopped."""
    folder = tmp_path_factory.mktemp("unstopped")
    _, report = trainer(corpus, folder, quiet).run()
    assert (report.interrupted, report.progress.step, report.progress.epoch) == (False, LAST, 2)
    return folder
