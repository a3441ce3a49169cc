from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_riffusion.core.arguments import (
    account_ids,
    boolean,
    checked_endpoint,
    conn_id,
    is_template,
    plain,
    reference,
    seconds,
    whole_number,
)


@pytest.mark.parametrize(
    ("value", "expected"), [(1, 1), (7, 7), ("3", 3), (" 3 ", 3), (3.0, 3), ("3.0", 3), ("30.00", 30)]
)
def test_whole_number_may_be_text_or_a_quotient(value, expected):
    number = whole_number("slots", value)

    assert (number, type(number)) == (expected, int)


@pytest.mark.parametrize(
    "value",
    [0, -1, 1.5, "1.5", 0.0, "two", "²", "0", "", True, None, [1], float("nan"), float("inf"), "9" * 5000],
)
def test_whole_number_that_is_none_or_not_positive_is_an_error(value):
    with pytest.raises(ValueError, match="slots must be a positive whole number"):
        whole_number("slots", value)


@pytest.mark.parametrize(("value", "expected"), [(1, 1.0), (0.5, 0.5), (timedelta(minutes=2), 120.0)])
def test_seconds_may_be_a_number_or_a_timedelta(value, expected):
    assert seconds("hold", value) == expected


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 1e300, -1, "10", None, True, timedelta(seconds=-1), timedelta.max]
)
def test_seconds_that_are_infinite_or_negative_are_an_error(value):
    with pytest.raises(ValueError, match="hold must be seconds or a timedelta, finite and 0 or more"):
        seconds("hold", value, zero=True)


def test_seconds_of_zero_are_an_error_unless_allowed():
    assert seconds("hold", 0, zero=True) == 0
    with pytest.raises(ValueError, match="more than 0"):
        seconds("poke_interval", 0)


def test_account_ids_that_are_numbers_become_text():
    assert account_ids(["a", 12345]) == {"a", "12345"}
    assert account_ids(None) is None


@pytest.mark.parametrize(
    "given",
    [("a", 1), {"a", 1}, frozenset(["a", "1"]), {"a": 0, 1: 0}.keys(), {0: "a", 1: 1}.values(), iter("a1")],
)
def test_account_ids_may_come_in_any_collection(given):
    assert account_ids(given) == {"a", "1"}


def test_account_ids_may_come_from_a_mapped_task(lazy_sequence):
    assert account_ids(lazy_sequence(["a", 1])) == {"a", "1"}


@pytest.mark.parametrize("value", ["a", "['a', 'b']", [], [""], [None], [1.5], [True], [["a"]], 3, {"a": 1}])
def test_account_ids_that_are_no_list_of_ids_are_an_error(value):
    with pytest.raises(ValueError, match="user_ids must"):
        account_ids(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{{ params.slots }}", True),
        (["a", "{{ x }}"], True),
        (("a", "{{ x }}"), True),
        ({"a", "{{ x }}"}, True),
        (["a", "b"], False),
        ("{% if x %}1{% endif %}", True),
        ("two", False),
        (2, False),
    ],
)
def test_is_template_recognises_templates_at_the_first_level(value, expected):
    assert is_template(value) is expected


@pytest.mark.parametrize("value", ["", None, True, 1.5, ["a"]])
def test_conn_id_that_is_no_id_is_an_error(value):
    with pytest.raises(ValueError, match="riffusion_conn_id must be the id of a connection"):
        conn_id(value)


def test_conn_id_that_a_native_template_made_a_number_is_text():
    assert conn_id(4711) == "4711"


@pytest.mark.parametrize(("value", "expected"), [("ref", "ref"), (42, "42"), (0, "0")])
def test_reference_that_is_a_whole_number_becomes_text(value, expected):
    assert reference("replyRef", value) == expected


@pytest.mark.parametrize("value", [20261101.1, 2e9, float("nan"), float("inf")])
def test_reference_float_is_rejected_because_two_texts_may_have_become_it(value):
    with pytest.raises(ValueError, match="a native template made a number of it; begin it with a letter"):
        reference("replyRef", value)


@pytest.mark.parametrize("value", ["", None, True, ["ref"]])
def test_reference_that_is_no_text_is_an_error(value):
    with pytest.raises(ValueError, match="replyRef must be text"):
        reference("replyRef", value)


def test_plain_outputs_of_other_tasks_become_json_at_any_depth(lazy_sequence):
    tags = lazy_sequence([{"moods": lazy_sequence(["sad"]), "pair": (1, 2)}, "polka"])

    assert plain({"tags": tags, "set": {"b", "a"}, "seed": 1.5, "no": None}) == {
        "tags": [{"moods": ["sad"], "pair": [1, 2]}, "polka"],
        "set": ["a", "b"],
        "seed": 1.5,
        "no": None,
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (map(str.upper, ["b", "a"]), ["B", "A"]),
        ({"b": 1, "a": 2}.keys(), ["b", "a"]),
        ({"b": 1, "a": 2}.values(), [1, 2]),
        ({"b": {1}}.items(), [["b", [1]]]),
    ],
    ids=["generator", "keys", "values", "items"],
)
def test_plain_what_native_templates_give_becomes_a_list_in_its_order(value, expected):
    assert plain({"tags": value}) == {"tags": expected}


@pytest.mark.parametrize("value", ["text", b"bytes", bytearray(b"bytes")])
def test_plain_text_and_bytes_are_unchanged(value):
    assert plain([value]) == [value]


@pytest.mark.parametrize("value", [None, 3, ["music"]])
def test_endpoint_that_is_no_text_is_an_error(value):
    with pytest.raises(ValueError, match="an endpoint is a path"):
        checked_endpoint(value)


def test_endpoint_query_may_contain_what_a_path_may_not():
    endpoint = "music/?next=https://example.com/../#x"

    assert checked_endpoint(endpoint) == endpoint


@pytest.mark.parametrize(
    "check",
    [
        lambda text: whole_number("slots", text),
        lambda text: seconds("hold", text),
        lambda text: boolean("same_account", text),
        lambda text: checked_endpoint("../" + text),
    ],
    ids=["whole_number", "seconds", "boolean", "checked_endpoint"],
)
def test_check_error_quotes_a_long_value_shortened(check):
    with pytest.raises(ValueError, match="not '") as caught:
        check("x" * 5000)
    assert len(str(caught.value)) < 300
