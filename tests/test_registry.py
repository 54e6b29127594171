"""Names to things: taken once, and an unknown one says which are near."""

import doctest

import pytest

from ostinato import registry
from ostinato.testing import parity


@pytest.mark.parametrize("module", [registry, parity], ids=lambda module: module.__name__)
def test_docstring_examples(module):
    failed, tried = doctest.testmod(module)
    assert tried >= 3
    assert failed == 0


def test_a_name_is_taken_once():
    colours = registry.Registry("colour")
    colours.register("red")(int)
    with pytest.raises(ValueError, match="colour 'red' is registered twice"):
        colours.register("red")(float)


def test_a_name_unlike_all_others_lists_them():
    colours = registry.Registry("colour")
    colours.update(red=1, blue=2)
    with pytest.raises(registry.UnknownNameError, match="no colour is called 'xyz'; there are: blue, red"):
        colours["xyz"]
