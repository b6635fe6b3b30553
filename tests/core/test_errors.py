"""The tree of errors: what is drawn at its top is what there is."""

import re

import pytest
from asset_changes import errors
from asset_changes.errors import AssetChangesError, RateLimited, TerminalError, TransientError


def classes_below(root: type[Exception]) -> list[type[Exception]]:
    """Return an error and all that derive from it, in the order of the module."""
    return [root, *(each for child in root.__subclasses__() for each in classes_below(child))]


ALL = [each for each in classes_below(AssetChangesError) if each.__module__ == errors.__name__]


def test_the_drawing_shows_every_error_below_its_parent() -> None:
    drawn, path = [], []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([│ ├└─]*)([A-Z]\w+)", line):
            path = [*path[: len(found[1]) // 4], found[2]]
            drawn.append((found[2], path[-2] if len(path) > 1 else None))
    there_is = [(each.__name__, each.__bases__[0].__name__ if each is not AssetChangesError else None) for each in ALL]
    assert len(drawn) > 10
    assert drawn == there_is


@pytest.mark.parametrize("kind", ALL[1:], ids=lambda kind: kind.__name__)
def test_each_error_says_whether_to_try_again(kind: type[Exception]) -> None:
    assert issubclass(kind, TerminalError) != issubclass(kind, TransientError)
    assert kind.__doc__
    assert str(kind("a sentence.")) == "a sentence."


def test_a_transient_error_may_say_when() -> None:
    assert TransientError("later").retry_after is None
    assert RateLimited("later", retry_after=3.0).retry_after == 3.0
