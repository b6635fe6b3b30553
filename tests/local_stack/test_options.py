"""The variables of `make run`, read and refused."""

from pathlib import Path

import pytest
from local_stack.errors import StackError
from local_stack.options import Options


def test_the_defaults_are_those_of_the_readme() -> None:
    options = Options.read({})
    assert options == Options(state_dir=Path(".local").absolute(), port=8080)


def test_all_variables_are_read() -> None:
    options = Options.read(
        {
            "STATE_DIR": "/srv/stack",
            "PORT": "8090",
            "UNTIL_CAUGHT_UP": "1",
            "LOGIN": "yes",
            "CONFIRM": "0",
            "SANDBOX_OPTIONS": "--keys camel --fault-rate 0.1",
        }
    )
    assert options.state_dir == Path("/srv/stack")
    assert options.port == 8090
    assert (options.until_caught_up, options.login, options.confirm) == (True, True, False)
    assert options.sandbox_options == ("--keys", "camel", "--fault-rate", "0.1")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("UNTIL_CAUGHT_UP", "maybe"),
        ("STATE_DIR", "/srv/my stack"),
        ("SANDBOX_OPTIONS", "--keys 'camel"),
    ],
)
def test_a_value_without_sense_is_refused_by_its_name(variable: str, value: str) -> None:
    with pytest.raises(StackError, match=variable):
        Options.read({variable: value})
