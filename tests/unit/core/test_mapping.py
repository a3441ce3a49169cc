from __future__ import annotations

from airflow_riffusion.core.mapping import arguments_at


def test_arguments_at_one_argument_takes_the_value_at_the_index():
    assert [arguments_at(index, {"slots": [4, 5, 6]}) for index in range(3)] == [
        {"slots": 4},
        {"slots": 5},
        {"slots": 6},
    ]


def test_arguments_at_several_arguments_gives_each_combination_once_as_airflow_does():
    mapped = {"a": [1, 2], "b": ["x", "y", "z"]}

    assert [arguments_at(index, mapped) for index in range(6)] == [
        {"a": a, "b": b} for a in (1, 2) for b in ("x", "y", "z")
    ]
