"""What a run that exists lets one change, and how it ends when it is interrupted outside the training loop."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from ostinato.tasks import language, rivals, training
from ostinato.tasks.language import LanguageRecipe
from ostinato.train import checkpoint
from ostinato.train.recipe import read, validate
from tiny import SMALL, Command, options, sentences


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("data.steps=9", "data.steps (8 -> 9) cannot change in a run that goes on; start a new one for that"),
        ("seed=7", "seed (1 -> 7) cannot change in a run that goes on"),
        ("dtype=float64", "dtype ('float32' -> 'float64') cannot change"),
        ("model.hidden=64", "model.hidden (16 -> 64) cannot change"),
        ("train.optimiser.name=sgd", "train.optimiser.name ('adamw' -> 'sgd') cannot change"),
        ("train.ema=0.9", "train.ema (None -> 0.9) cannot change"),
    ],
)
def test_resume_refuses_what_cannot_change(cli: Command, run: Path, change: str, sentence: str) -> None:
    before = (run / "recipe.toml").read_text()
    said = cli("train", "--resume", run, "-o", change)
    assert (said.code, said.out) == (2, "")
    assert sentence in said.err
    assert (run / "recipe.toml").read_text() == before


def test_resume_takes_and_records_what_may(cli: Command, run: Path) -> None:
    before = json.loads((run / "results.json").read_text())["metrics"]["train/steps"]
    said = cli("train", "--resume", run, "--json", *options("train.epochs=3", "train.optimiser.weight_decay=0.5"))
    assert said.code == 0, said.err
    assert json.loads(said.out)["metrics"]["train/steps"] == before / 2 * 3
    recipe = validate(LanguageRecipe, read(run / "recipe.toml"))
    assert (recipe.train.epochs, recipe.train.optimiser.weight_decay) == (3, 0.5)


def test_resume_misses_the_best_weights(cli: Command, run: Path) -> None:
    before = (run / "model.safetensors").read_bytes()
    (run / "checkpoint" / "best.safetensors").unlink()
    said = cli("train", "--resume", run)
    assert said.code == 2
    assert "best.safetensors is missing: restore it from a copy" in said.err
    assert (run / "model.safetensors").read_bytes() == before


def test_resume_sweeps_what_a_killed_write_left(cli: Command, run: Path) -> None:
    left = [run / ".report.html.12ab34cd.tmp", run / "checkpoint" / ".last.safetensors.12ab34cd.tmp"]
    for file in left:
        file.write_text("half")
    assert cli("train", "--resume", run).code == 0
    assert not any(file.exists() for file in left)


def test_new_settings_reach_the_optimiser_that_goes_on(cli: Command, run: Path) -> None:
    """Decay so strong that it shows: the weights of a run that goes on with it are smaller."""
    other = Path(shutil.copytree(run, run.parent / "other"))
    constant = ("train.epochs=3", "train.schedule.name=constant")
    for folder, decay in ((run, 0.0), (other, 30.0)):
        assert cli("train", "--resume", folder, *options(*constant, f"train.optimiser.weight_decay={decay}")).code == 0
    size = [
        float(checkpoint.load(folder / "checkpoint" / "last.safetensors")[0]["model/embedding.weight"].norm())
        for folder in (run, other)
    ]
    assert size[1] < 0.5 * size[0]


def test_a_text_that_has_changed_does_not_go_on(cli: Command, run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(sentences(200, seed=9))
    said = cli("train", "--resume", run, "-o", f"data.path={other}")
    assert said.code == 2
    assert "learnt from other data than these: the text or the tokeniser has changed since" in said.err
    assert str(other) not in (run / "recipe.toml").read_text()


def test_the_same_text_may_have_moved(cli: Command, run: Path, text: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copy(text, tmp_path / "moved.txt"))
    said = cli("train", "--resume", run, "-o", f"data.path={moved}")
    assert said.code == 0, said.err
    assert str(moved) in (run / "recipe.toml").read_text()


@pytest.mark.parametrize("change", ["model.hidden=64", "data.tokens=char", "train.epochs=9"])
def test_evaluate_refuses_what_is_settled(cli: Command, run: Path, change: str) -> None:
    said = cli("evaluate", run, "-o", change)
    assert (said.code, said.out) == (2, "")
    assert "cannot change in a model that is trained already; train another one" in said.err


def test_another_text_is_scored_from_end_to_end(cli: Command, run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(sentences(30, seed=5))
    whole = json.loads(cli("evaluate", run, "--json", "-o", f"data.path={other}").out)
    assert whole["test/tokens"] == len(other.read_text().replace("\n", " <eos> ").split()) - 1
    assert not [name for name in whole if name.startswith("valid")]
    cut = cli("evaluate", run, "--json", *options(f"data.path={other}", "data.fractions=[0.2,0.4,0.4]"))
    assert json.loads(cut.out)["test/tokens"] < 0.5 * whole["test/tokens"]


def test_a_text_of_strangers_is_told(cli: Command, run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("nobody knows these strange words " * 20)
    said = cli("evaluate", run, "--json", "-o", f"data.path={other}")
    assert said.err == "note: 100% of the test part's tokens are <unk>: perplexity says little about such a text\n"
    assert json.loads(said.out)["test/unknown_share"] > 0.9


@pytest.mark.parametrize("place", ["baseline", "report"])
def test_ctrl_c_after_the_training_keeps_the_model(
    cli: Command, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        if place == "baseline":
            own = rivals.Trainer.run

            def pressed(trainer: Any, *given: Any) -> Any:
                if trainer.alone:
                    trainer.listen = lambda event: signal.raise_signal(signal.SIGINT) if event["step"] == 20 else None
                return own(trainer, *given)

            patch.setattr(rivals.Trainer, "run", pressed)
        else:
            patch.setattr(training, "write_report", lambda *_: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match=rf"^interrupted; go on with: ostinato train --resume {run}$"):
            training.train(language.LanguageJob(), made(text), run, lambda event: None)
    assert cli("evaluate", run, "--json").code == 0
    said = cli("train", "--resume", run, "--json")
    assert said.code == 0, said.err
    assert {row["kind"] for row in json.loads(said.out)["table"]} == {"recurrent", "baseline"}
    assert (run / "report.html").is_file()


def test_ctrl_c_before_the_first_step_is_told(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def listen(event: dict[str, Any]) -> None:
        if event["event"] == "start":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"interrupted before the first checkpoint: .*/run holds nothing to go"):
        training.train(language.LanguageJob(), made(text), tmp_path / "run", listen)


def made(text: Path) -> LanguageRecipe:
    given = [*SMALL, f"data.path={str(text)!r}", "train.epochs=1"]
    return validate(LanguageRecipe, read(Path(str(training.__file__)).parents[1] / "recipes" / "language.toml", given))
