"""A run folder: made whole, opened with a reason when it cannot be."""

import json
from pathlib import Path

import pytest

from ostinato.tasks.language import LanguageRecipe
from ostinato.tasks.run import FORMAT, Run, RunError
from ostinato.train.recipe import read, validate

RECIPE = LanguageRecipe.model_validate(
    {"name": "mine", "model": {"hidden": 7}, "samples": {"prompts": ["红楼", "a\nb"]}}
)


def test_the_recipe_comes_back_as_it_was(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    assert validate(LanguageRecipe, read(run.recipe)) == RECIPE
    assert run.checkpoint.is_dir()


def test_runs_without_a_folder_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [str(Run.create(None, RECIPE)) for _ in range(3)] == ["runs/mine", "runs/mine-2", "runs/mine-3"]
    unnamed = RECIPE.model_copy(update={"name": ""})
    assert str(Run.create(None, unnamed)) == "runs/language"


@pytest.mark.parametrize("trace", ["config.json", "checkpoint/last.safetensors", "checkpoint/best.safetensors"])
def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path, trace: str) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    (run.path / trace).write_text("{}")
    before = run.recipe.read_text()
    with pytest.raises(RunError, match=r"already holds a run; go on with it by --resume .*/run, or name another"):
        Run.create(run.path, RECIPE.model_copy(update={"seed": 9}))
    assert run.recipe.read_text() == before


def test_a_run_that_did_not_live_to_a_checkpoint_may_begin_again(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    run.event({"event": "start"})
    Run.create(run.path, RECIPE).event({"event": "start"})
    assert len((run.path / "events.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("name", ["recipe.toml", "tokenizer.json", "notes.md", "report.html"])
def test_a_folder_with_other_files_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match=rf"holds {name}, which is of no run; name a new folder, or an empty one"):
        Run.create(tmp_path, RECIPE)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "mine")]


def test_a_tokenizer_that_has_changed_is_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    run.tokenizer.write_text("{}")
    run.configure(parameters=3)
    run.tokenizer.write_text("[]")
    with pytest.raises(RunError, match=r"tokenizer\.json is not as the training wrote it .*restore it from a copy"):
        Run.open(run.path, needs=("recipe.toml",))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(RunError, match=r"notes\.txt is a file; name a folder"):
        Run.create(tmp_path / "notes.txt", RECIPE)
    with pytest.raises(RunError, match=r"notes\.txt is a file; name a folder"):
        Run.create(tmp_path / "notes.txt" / "deeper" / "run", RECIPE)
    with pytest.raises(RunError, match=r"model\.pt is a pickle \(\.pt\), which is refused because opening it can run"):
        Run.open(tmp_path / "model.pt")
    with pytest.raises(RunError, match=r"notes\.txt is a file; a run folder was expected"):
        Run.open(tmp_path / "notes.txt")
    with pytest.raises(RunError, match=r"no run folder is called .*gone; `ostinato train RECIPE` makes one"):
        Run.open(tmp_path / "gone")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    run.configure(parameters=3)
    with pytest.raises(RunError, match=r"incomplete: tokenizer.json and model.safetensors are missing; restore"):
        Run.open(run.path)
    (run.checkpoint / "last.safetensors").write_bytes(b"x")
    with pytest.raises(RunError, match=r"tokenizer.json and model.safetensors are missing; restore it from a copy"):
        Run.open(run.path)  # going on would need the tokenizer
    run.tokenizer.write_text("{}")
    with pytest.raises(RunError, match=r"training did not end: go on with `ostinato train --resume .*run`"):
        Run.open(run.path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    run.configure(parameters=3)
    assert Run.open(run.path, needs=("recipe.toml",)).config() | {"ostinato": ""} == {
        "format": FORMAT, "ostinato": "", "parameters": 3,
    }  # fmt: skip
    for wrong in (FORMAT + 1, "2", None):
        (run.path / "config.json").write_text(json.dumps({"format": wrong}))
        with pytest.raises(RunError, match=f"has format {wrong} and this Ostinato reads up to {FORMAT}: upgrade"):
            Run.open(run.path, needs=("recipe.toml",))
    for wrong in ("[]", "{", ""):
        (run.path / "config.json").write_text(wrong)
        with pytest.raises(RunError, match=r"config\.json (cannot be read|should hold a JSON object)"):
            Run.open(run.path, needs=("recipe.toml",))


def test_events_are_lines_of_json(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE)
    run.event({"event": "step", "loss": 1.5})
    run.event({"event": "note", "text": "二\n行"})
    rows = [json.loads(line) for line in (run.path / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [{k: v for k, v in row.items() if k != "time"} for row in rows] == [
        {"event": "step", "loss": 1.5},
        {"event": "note", "text": "二\n行"},
    ]
