"""Parameters of a space: values, conditions, drawn configurations, and the grid."""

from collections.abc import Callable
from functools import partial
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler
from pydantic import ValidationError

from tuner.config.parameters import Choice, Float, Int, Parameter
from tuner.config.space import LARGEST_GRID, Space
from tuner.config.validation_messages import lines
from tuner.config.values import Value
from tuner.config.yaml import parse_yaml, to_yaml
from tuner.errors import SpecError
from tuner.search.optuna_study import suggest_value

NESTED = """
dropout: {choice: [0.1, 0.5], when: {dense: [64, 128]}}
dense: {choice: [32, 64, 128], when: {architecture: alexnet}}
architecture: {choice: [lenet5, alexnet]}
epochs: 3
momentum: {value: 0.8, when: {architecture: [lenet5]}}
"""


def space(text: str) -> Space:
    return Space.model_validate(parse_yaml(text, "space"))


def refusal(text: str) -> str:
    raw = parse_yaml(text, "space")
    with pytest.raises(ValidationError) as caught:
        Space.model_validate(raw)
    (line,) = lines(caught.value, raw)
    assert "\n" not in line
    return line


REFUSED_PARAMETERS = """
{}                                 => a: found {}; allowed: one of choice, float, int, value
{flaot: [1, 2]}                    => a: found flaot; allowed: one of choice, float, int, value
{float: [1, 2], int: [1, 2]}       => a: found float, int; allowed: one of choice, float, int, value
{float: [1, 2], lgo: true}         => a: unknown key 'lgo'; did you mean 'log'? allowed: float, log, step, when
{choice: [1, 2], log: true}        => a: unknown key 'log'; allowed: choice, when
null                               => a: found null; allowed: a number, text, boolean or list
{value: null}                      => a.value: found null; allowed: a number, text, boolean or list
{choice: []}                       => a.choice: found []; allowed: at least one value
{choice: 3}                        => a.choice: found 3; allowed: a list
{choice: [1, null]}                => a.choice[1]: found null; allowed: a number, text, boolean or list
{choice: [{b: 1}]}                 => a.choice[0]: found {'b': 1}; allowed: a number, text, boolean or list
{choice: [1, .nan]}                => a.choice[1]: found nan; allowed: a number, text, boolean or list
{choice: [1, 2, 1]}                => a.choice: 1 stands twice
{choice: [1, 1.0]}                 => a.choice: 1.0 stands twice
{choice: [[1, 2], [1, 2]]}         => a.choice: [1, 2] stands twice
{choice: [x, "x"]}                 => a.choice: 'x' stands twice
{float: 1}                         => a.float: found 1; allowed: two numbers, [LOWEST, HIGHEST]
{float: [1]}                       => a.float: found [1]; allowed: two numbers, [LOWEST, HIGHEST]
{float: [1, 2, 3]}                 => a.float: found [1, 2, 3]; allowed: two numbers, [LOWEST, HIGHEST]
{float: [1, "2"]}                  => a.float[1]: found '2'; allowed: a number
{float: [true, 2]}                 => a.float[0]: found true; allowed: a number
{float: [1, .inf]}                 => a.float[1]: found inf; should be a finite number
{int: [1.5, 2]}                    => a.int[0]: found 1.5; allowed: a whole number
{float: [0.5, 0.1]}                => a: the range [0.5, 0.1] is reversed; write [0.1, 0.5]
{int: [3, 3]}                      => a: the range [3, 3] is empty; a constant is written without braces: 3
{float: [0, 1], log: true}         => a: a log range must lie above zero, found [0.0, 1.0]
{int: [-1, 5], log: true}          => a: a log range must lie above zero, found [-1, 5]
{int: [1, 5], log: on}             => a.log: found 'on'; allowed: true or false
{int: [1, 5], log: true, step: 2}  => a: log and step exclude each other
{float: [0.1, 0.3], step: 0.3}     => a: step 0.3 must be above 0 and at most 0.2
{int: [1, 5], step: 0}             => a: step 0 must be above 0 and at most 4
{int: [1, 5], step: 1.5}           => a.step: found 1.5; allowed: a whole number
{int: [1, 5], when: b}             => a.when: found 'b'; allowed: a mapping
{int: [1, 5], when: {b: []}}       => a.when.b: found []; allowed: at least one value
{int: [1, 5], when: {b: null}}     => a.when.b: found null; allowed: a number, text, boolean or list
{int: [1, 5], when: {c: 1}}        => a.when: no parameter 'c'; allowed: a, b
{int: [1, 5], when: {b: 4}}        => a.when.b: 4 cannot occur; b is {'choice': [1, 2]}
{int: [1, 5], when: {b: true}}     => a.when.b: true cannot occur; b is {'choice': [1, 2]}
{int: [1, 5], when: {b: "1"}}      => a.when.b: '1' cannot occur; b is {'choice': [1, 2]}
{float: [-1e308, 1e308]}           => a: the range [-1e+308, 1e+308] is too wide; allowed: up to 1.79769e+308
{float: [0, 1], step: 0.30000000000000004} => a: step 0.30000000000000004 has more digits than its multiples; write 0.3
{float: [0, 1], step: 1e-300}      => a: step 1e-300 is below the 2.22045e-16 between two numbers near 1
{int: [1, 9007199254740993]} => a.int[1]: found 9007199254740993; should be less than or equal to 9007199254740992
{choice: [0.5, 9007199254740993]} => a.choice: found 9007199254740993 beside fractions; allowed: whole numbers to 2**53
{choice: [1, -.inf]}               => a.choice[1]: found -inf; allowed: a number, text, boolean or list
{int: [1, 5], when: {a: 2}}        => a.when: conditions go in a circle: a -> a
"""


@pytest.mark.parametrize(
    ("parameter", "line"),
    [[cell.strip() for cell in row.split("=>")] for row in REFUSED_PARAMETERS.strip().splitlines()],
)
def test_parameter_refuses_what_cannot_be_drawn(parameter: str, line: str) -> None:
    assert refusal(f"b: {{choice: [1, 2]}}\na: {parameter}") == line


@pytest.mark.parametrize("range_", ["{int: [1, 9], step: 2}", "{float: [1, 9], step: 0.5}"])
def test_condition_refuses_value_between_steps(range_: str) -> None:
    assert refusal(f"b: {range_}\na: {{int: [0, 5], when: {{b: 3.25}}}}").startswith(
        "a.when.b: 3.25 cannot occur; b is"
    )
    assert space(f"b: {range_}\na: {{int: [0, 5], when: {{b: [1, 3, 9]}}}}")["a"].when == {"b": [1, 3, 9]}


def test_space_refuses_circle_of_conditions() -> None:
    text = "a: {int: [1, 2], when: {b: 1}}\nb: {int: [1, 2], when: {c: 1}}\nc: {int: [1, 2], when: {a: 1}}"
    assert refusal(text) == "a.when: conditions go in a circle: a -> b -> c -> a"


@pytest.mark.parametrize("step", [{"float": [0.1, 0.3], "step": 0.2}, {"float": [0.1, 0.4], "step": 0.3}])
def test_range_allows_step_of_its_whole_width(step: dict[str, Any]) -> None:
    assert len(list(Space.model_validate({"a": step})["a"].grid())) == 2


@pytest.mark.parametrize(
    ("parameter", "kind"),
    [
        ("{choice: [1, 2]}", "int"),
        ("{choice: [1, 2.5]}", "float"),
        ("{choice: [true, false]}", "bool"),
        ("{choice: [off, 1e]}", "text"),
        ("{choice: [1, true]}", "json"),
        ("{choice: [1, a]}", "json"),
        ("{choice: [[1], [2]]}", "json"),
        ("{float: [1, 2]}", "float"),
        ("{int: [1, 2]}", "int"),
        ("adam", "text"),
        ("[1, 2]", "json"),
        ("1e-4", "float"),
    ],
)
def test_parameter_kind_is_its_column_type(parameter: str, kind: str) -> None:
    assert space(f"a: {parameter}")["a"].kind == kind


def first(_: str, parameter: Parameter) -> Value:
    return parameter.choice[0] if isinstance(parameter, Choice) else 0


def last(_: str, parameter: Parameter) -> Value:
    return parameter.choice[-1] if isinstance(parameter, Choice) else 0


@pytest.mark.parametrize(
    ("pick", "drawn"),
    [
        (first, {"architecture": "lenet5", "epochs": 3, "momentum": 0.8}),
        (last, {"architecture": "alexnet", "dense": 128, "dropout": 0.5, "epochs": 3}),
    ],
)
def test_draw_picks_active_parameters_and_fills_constants(
    pick: Callable[[str, Parameter], Value], drawn: dict[str, Value]
) -> None:
    asked: list[str] = []

    def watched(name: str, parameter: Parameter) -> Value:
        asked.append(name)
        return pick(name, parameter)

    assert space(NESTED).draw(watched) == drawn
    assert asked == [name for name in drawn if name not in ("epochs", "momentum")]


def test_ordered_puts_parameters_after_their_conditions() -> None:
    assert [name for name, _ in space(NESTED).ordered()] == ["architecture", "dense", "dropout", "epochs", "momentum"]


def test_condition_on_one_refuses_true() -> None:
    mixed = space("a: {choice: [1, true]}\nb: {value: 5, when: {a: 1}}")
    assert (mixed.draw(first), mixed.draw(last)) == ({"a": 1, "b": 5}, {"a": True})


def test_grid_varies_last_parameter_fastest() -> None:
    found = space("a: {choice: [x, y]}\nb: {int: [1, 5], step: 2}\nc: true").grid()
    assert found == [{"a": a, "b": b, "c": True} for a in "xy" for b in (1, 3, 5)]


def test_grid_makes_no_copies_of_inactive_parameters() -> None:
    found = space(NESTED).grid()
    assert len(found) == 1 + 1 + 2 * 2  # lenet5, alexnet with 32 units, alexnet with 64 or 128 and either dropout
    assert len({repr(sorted(point.items())) for point in found}) == len(found)
    assert found[0] == {"architecture": "lenet5", "epochs": 3, "momentum": 0.8}
    assert found[-1] == {"architecture": "alexnet", "dense": 128, "dropout": 0.5, "epochs": 3}


def test_grid_of_float_steps_has_round_numbers() -> None:
    assert list(Float(float=(0.0, 1.0), step=0.1).grid()) == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    assert list(Float(float=(0.0, 1.0), step=0.3).grid()) == [0, 0.3, 0.6, 0.9]
    assert list(Int(int=(1, 6), step=2).grid()) == [1, 3, 5]


@pytest.mark.parametrize("written", [0.3, 0.30000000000000004])
def test_condition_holds_for_a_step_however_written(written: float) -> None:
    stepped = Space.model_validate({"a": {"float": [0, 1], "step": 0.1}, "b": {"value": 1, "when": {"a": written}}})
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    drawn = [stepped.draw(partial(suggest_value, study.ask())) for _ in range(60)]
    assert {point["a"] for point in drawn} <= {index / 10 for index in range(11)}
    assert {point["a"] for point in drawn if "b" in point} == {0.3}


@pytest.mark.parametrize(("low", "step"), [(0, 1e-13), (1e-300, 1e-300), (5e-13, 1e-14), (-0.3, 0.1), (1e15, 0.5)])
def test_steps_of_any_size_are_told_apart(low: float, step: float) -> None:
    values = list(Float(float=(low, low + 7 * step), step=step).grid())
    assert len(values) == len(set(values)) >= 7
    one = Float(float=(low, low + 7 * step), step=step)
    assert all(one.holds(value) and one.canonical(value) == value for value in values)


def test_condition_far_outside_of_steps_is_refused() -> None:
    text = "b: {float: [0, 0.9], step: 0.3}\na: {value: 1, when: {b: 1.7e+308}}"
    assert refusal(text).startswith("a.when.b: 1.7e+308 cannot occur; b is")


@pytest.mark.parametrize(
    ("one", "wanted", "value"),
    [
        (Float(float=(1e-12, 0.9), step=0.3), 0.9, 0.600000000001),
        (Float(float=(5e-324, 0.3), step=0.1), 0.0, 5e-324),
        (Float(float=(0, 1)), 7, 1),
        (Int(int=(1, 8), step=3), 9, 7),
        (Int(int=(1, 8)), 2.6, 3),
    ],
)
def test_range_finds_nearest_value_it_can_draw(one: Float | Int, wanted: float, value: float) -> None:
    assert one.nearest(wanted) == value


def test_grid_of_empty_space_is_one_configuration() -> None:
    assert space("{}").grid() == [{}]
    assert space("{}").draw(first) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {choice: [1]}\nb: {float: [0, 1]}", "space.b: a grid needs a choice or a `step:`; or sample with tpe or"),
        ("a: {int: [1, 1000000000000]}", f"space.a: makes a grid of more than {LARGEST_GRID:,}; sample with tpe or"),
        ("a: {float: [0, 1], step: 1e-15}", f"space.a: makes a grid of more than {LARGEST_GRID:,}; sample with tpe"),
        ("a: {int: [1, 999]}\nb: {int: [1, 999]}", f"space.b: makes a grid of more than {LARGEST_GRID:,}; sample with"),
    ],
)
def test_grid_refuses_ranges_without_steps(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        space(text).grid()
    assert str(caught.value).startswith(message)


def test_space_reads_back_as_an_equal_one() -> None:
    text = (
        NESTED + "l: {choice: [[1, 2], [3]]}\nm: {choice: [1, 1.5, true, off, '1e-4']}\nn: {float: [1, 2], step: 0.5}"
    )
    again = space(to_yaml(space(text).model_dump(mode="json", by_alias=True, exclude_none=True)))
    assert again == space(text)
    assert list(again.root) == list(space(text).root)
