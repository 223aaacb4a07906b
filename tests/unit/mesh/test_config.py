"""Configuration: typed, and refused with a sentence that helps."""

from dataclasses import FrozenInstanceError, dataclass

import pytest

from mesh.config import ConfigError, load, setting, settings_of


@dataclass(frozen=True)
class Example:
    """Every kind of setting."""

    dsn: str = setting("X_DSN", help="the DSN", secret=True)
    size: int = setting("X_SIZE", 8, "how many, at most", low=1, high=10)
    wait_s: float = setting("X_WAIT_S", 1.5, "how long, in seconds", low=0)
    on: bool = setting("X_ON", False, "whether at all")
    hosts: tuple[str, ...] = setting("X_HOSTS", (), "host:port, separated by commas")
    level: str = setting("X_LEVEL", "info", "how much", choices=("info", "debug"))
    limit: int | None = setting("X_LIMIT", None, "a limit")


def test_defaults_hold_where_nothing_is_set() -> None:
    assert load(Example, {"X_DSN": "d"}) == Example("d", 8, 1.5, False, (), "info", None)


def test_values_have_the_type_of_their_field() -> None:
    environ = {
        "X_DSN": " d ",
        "X_SIZE": "3",
        "X_WAIT_S": "0.25",
        "X_ON": "Yes",
        "X_HOSTS": "a:1, b:2,",
        "X_LEVEL": "debug",
        "X_LIMIT": "7",
    }
    assert load(Example, environ) == Example("d", 3, 0.25, True, ("a:1", "b:2"), "debug", 7)


def test_an_empty_value_is_as_good_as_none() -> None:
    assert load(Example, {"X_DSN": "d", "X_SIZE": "  "}).size == 8


def test_the_environment_is_read_if_no_other_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X_DSN", "from the environment")
    assert load(Example).dsn == "from the environment"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, ["X_DSN", "not set", "the DSN"]),
        ({"X_SIZE": "many"}, ["X_SIZE", "'many'", "whole number"]),
        ({"X_SIZE": "1.5"}, ["X_SIZE", "whole number"]),
        ({"X_SIZE": "0"}, ["X_SIZE", "'0'", "at least 1"]),
        ({"X_SIZE": "11"}, ["X_SIZE", "at most 10"]),
        ({"X_WAIT_S": "soon"}, ["X_WAIT_S", "number", "in seconds"]),
        ({"X_WAIT_S": "-1"}, ["X_WAIT_S", "at least 0"]),
        ({"X_ON": "perhaps"}, ["X_ON", "true or false"]),
        ({"X_LEVEL": "loud"}, ["X_LEVEL", "'loud'", "info, debug"]),
    ],
)
def test_a_bad_value_is_refused_with_a_sentence(environ: dict[str, str], said: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Example, environ if not environ else {"X_DSN": "d", **environ})
    for part in said:
        assert part in str(caught.value)


@dataclass(frozen=True)
class Secret:
    """A secret that can be wrong."""

    pin: int = setting("X_PIN", help="a number", secret=True)


def test_a_secret_is_never_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        load(Secret, {"X_PIN": "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert "X_PIN" in str(caught.value)


def test_a_configuration_can_not_be_changed() -> None:
    made = load(Example, {"X_DSN": "d"})
    with pytest.raises(FrozenInstanceError):
        made.size = 9  # type: ignore[misc]


def test_settings_can_be_listed_for_documentation() -> None:
    listed = {meta.env: default for meta, default in settings_of(Example)}
    assert listed["X_SIZE"] == 8
    assert set(listed) == {"X_DSN", "X_SIZE", "X_WAIT_S", "X_ON", "X_HOSTS", "X_LEVEL", "X_LIMIT"}
