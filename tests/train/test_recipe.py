"""Recipes: every key is known, mistakes are told with the near names, overrides hold. Oracle: the values written."""

import os
from pathlib import Path

import pytest

from ostinato.registry import cells
from ostinato.tasks import tasks
from ostinato.tasks.language import LanguageRecipe
from ostinato.train.recipe import RecipeError, find, override, read, refuse_changes, shipped, validate


def recipe(*overrides: str) -> LanguageRecipe:
    return validate(LanguageRecipe, read(find("language"), overrides), "recipe language")


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("model.hiden=3", "hidden"),
        ("modle.hidden=3", "model"),
        ("sed=3", "seed"),
        ("data.fraction=3", "fractions"),
        ("train.optimiser.weight_decy=0.1", "weight_decay"),
        ("train.schedule.warmup=3", "warmup_steps"),
        ("model.dropout.betwen=0.1", "between"),
    ],
)
def test_an_unknown_key_fails_with_the_near_names(key: str, near: str) -> None:
    name = "modle" if key.startswith("modle") else key.partition("=")[0]
    with pytest.raises(RecipeError, match=f"recipe language: no key is called '{name}'; did you mean .*{near}"):
        recipe(key)


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("model.cell=lstmm", "no cell is called 'lstmm'; did you mean lstm"),
        ("model.cell=feedfoward", "no cell is called 'feedfoward'; did you mean feedforward"),
        ("train.optimiser.name=adm", "no optimiser is called 'adm'; did you mean adam"),
        ("train.schedule.name=cosin", "no schedule is called 'cosin'; did you mean cosine"),
        ("data.tokens=wrod", "no tokeniser is called 'wrod'; did you mean word"),
    ],
)
def test_an_unknown_name_fails_with_the_near_names(key: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(key)
    key, _, value = key.partition("=")
    assert str(caught.value).startswith(f"recipe language: {key} = '{value}': {sentence}")


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("model.hidden=0", "model.hidden = 0: input should be greater than or equal to 1"),
        ("model.hidden=wide", "model.hidden = 'wide': input should be a valid integer"),
        ("model.dropout.input=1.0", "model.dropout.input = 1.0: input should be less than 1"),
        ("train.ema=1.0", "train.ema = 1.0: input should be less than 1"),
        ("dtype=float16", "dtype = 'float16': input should be 'auto', 'float32', 'float64' or 'bfloat16'"),
        ("train.optimiser.betas=[0.9, 1.5]", "train.optimiser.betas = [0.9, 1.5]: both should be at least 0 and less"),
        ("name=../evil", "name = '../evil': should be a plain name, without / or"),
        ("data.batch=1.5", "data.batch = 1.5: input should be a valid integer"),
        ("data.path=3", "data.path = 3: input should be a text"),
        ("samples.prompts=3", "samples.prompts = 3: input should be a list such as [1, 2]"),
        ("model.options=3", "model.options = 3: input should be a table such as {key = value}"),
        ("train=3", "train = 3: input should be a section with keys"),
    ],
)
def test_a_value_out_of_range_is_told_with_its_key(key: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe(key)
    assert sentence in str(caught.value)


def test_only_what_may_change_can() -> None:
    old = LanguageRecipe.model_validate({"data": {"path": "a"}})
    new = LanguageRecipe.model_validate({"seed": 4, "data": {"path": "b", "steps": 9}, "train": {"ema": 0.9}})
    refuse_changes(old, old, free=())
    refuse_changes(old, new, free=("seed", "data", "train"))
    with pytest.raises(RecipeError) as error:
        refuse_changes(old, new, ("data.path", "train"), ("train.ema",), " now")
    assert str(error.value) == "data.steps (35 -> 9), seed (0 -> 4), train.ema (None -> 0.9) cannot change now"


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(RecipeError, match=r"'adm'.*; no key is called 'model\.hiden'"):
        recipe("model.hiden=3", "train.optimiser.name=adm")


def test_overrides_reach_every_depth_with_their_type() -> None:
    made = recipe(
        "model.hidden=256", "train.optimiser.lr=1e-3", "model.tied=false", "data.path=some text.txt", "seed = 7",
        'name="a=b"', "data.fractions=[0.8, 0.1, 0.1]", 'samples.prompts=["x", "y"]', "model.options.forget_bias=2",
        "model.cell=gru", "train.clip_value=5",
    )  # fmt: skip
    assert (made.model.hidden, made.train.optimiser.lr, made.model.tied, made.seed) == (256, 1e-3, False, 7)
    assert (made.data.path, made.name, made.data.fractions) == ("some text.txt", "a=b", (0.8, 0.1, 0.1))
    assert (made.samples.prompts, made.model.options) == (["x", "y"], {"forget_bias": 2})
    assert (made.model.cell, made.train.clip_value) == ("gru", 5.0)
    assert made.train.schedule.warmup_steps == recipe().train.schedule.warmup_steps  # the neighbours stay


def test_the_last_override_wins() -> None:
    assert recipe("model.hidden=3", "model.hidden=5").model.hidden == 5


@pytest.mark.parametrize("text", ["model.hidden", "=3", " =3"])
def test_an_override_without_key_or_value_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"should look like model\.hidden=256"):
        override({}, [text])


def test_an_override_inside_a_value_is_refused() -> None:
    with pytest.raises(RecipeError, match="seed is a value, not a section"):
        override({"seed": 1}, ["seed.x=3"])


def test_every_shipped_recipe_is_valid_and_says_what_it_needs() -> None:
    assert {"language", "demo", "ptb-small", "shakespeare-char", "hongloumeng-char"} <= shipped().keys()
    for name, path in shipped().items():
        raw = read(path)
        made = validate(tasks[raw["task"]].schema, raw, name)
        assert made.name == name
        assert made.about.needs


def test_find_knows_names_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('task = "language"\n')
    assert find(str(mine)) == mine
    assert find("demo") == shipped()["demo"]
    assert find("demo.toml") == shipped()["demo"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo.toml").write_text('task = "language"\n')
    assert find("demo.toml").resolve() == tmp_path / "demo.toml"  # the file that is there
    assert find("demo") == shipped()["demo"]


@pytest.mark.parametrize("name", ["demmo", "demmo.toml", "nowhere/demo.toml", f"nowhere{os.sep}demo", ""])
def test_find_says_which_names_are_near(name: str) -> None:
    with pytest.raises(RecipeError, match=r"no recipe is called .* and no such \.toml file exists; .*demo"):
        find(name)


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("model = [")
    with pytest.raises(RecipeError, match=r"broken\.toml is not valid TOML"):
        read(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match=r"broken\.toml cannot be read"):
        read(broken)
    with pytest.raises(RecipeError, match=r"gone\.toml cannot be read"):
        read(tmp_path / "gone.toml")


def test_a_cell_that_is_registered_later_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cells, "mine", cells["lstm"])
    assert recipe("model.cell=mine").model.cell == "mine"


def test_a_recipe_does_not_change_once_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        recipe().model.hidden = 3
