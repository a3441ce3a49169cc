"""What the answers of ``scheduler/available`` mean, whatever is odd about them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_riffusion.core.capacity import Capacity, CapacityFormatError
from airflow_riffusion.services import SERVICES
from tests.readings import NOON, parsed

LONG_TEXT = "long\n" + "x" * 1000


def account(**fields: object) -> Capacity:
    return parsed({"available": [{"user_id": "a", **fields}]})


def test_capacity_documented_answer_is_read_whole(contract):
    capacity = SERVICES["riffusion"].read_capacity(contract(), observed_at=NOON)

    assert (capacity.available, capacity.executing, capacity.max_jobs) == (18, 2, 20)
    assert [account.available for account in capacity.accounts] == [10, 8]
    first = capacity.jobs[0]
    assert (first.job_id, first.user_id) == ("<job_id_1>", "<user_id_2>")
    assert first.started == datetime(2025, 2, 12, 1, 55, 16, 128000, tzinfo=UTC)
    assert first.elapsed == timedelta(minutes=3, seconds=57)
    assert first.reply_ref == "<optional reference>"
    assert capacity.warnings == ()


@pytest.mark.parametrize(
    ("service", "accounts", "job_id", "job_account"),
    [
        ("tempolor", {"12345": 9, "67890": 5}, "user:12345-tempolor:12345-job:abcdef123456789", "12345"),
        ("kling", {"one@example.com": 4, "two@example.com": 3}, "123456789", "one@example.com"),
    ],
)
def test_capacity_other_services_are_read_by_their_own_field_names(
    contract, service, accounts, job_id, job_account
):
    capacity = SERVICES[service].read_capacity(contract(service), observed_at=NOON)

    assert {account.user_id: account.available for account in capacity.accounts} == accounts
    assert (capacity.jobs[0].job_id, capacity.jobs[0].user_id) == (job_id, job_account)
    assert capacity.warnings == ()


@pytest.mark.parametrize(
    ("fields", "available"),
    [
        ({"maxJobs": 10, "executing": 4}, 6),  # missing: what is left
        ({"available": 3}, 3),
        ({"maxJobs": 5, "available": 3}, 3),
        ({"maxJobs": "10", "executing": " 4 ", "available": "6"}, 6),  # numeric strings
        ({"maxJobs": 10.0, "executing": 4.0, "available": 6.0}, 6),
        ({"maxJobs": 10, "executing": 12}, 0),
        ({"maxJobs": 10, "executing": 2, "available": -1}, 0),
        ({"maxJobs": 4, "executing": 1, "available": 9}, 3),  # never more than each number supports
        ({"maxJobs": 2, "available": 9}, 2),
    ],
)
def test_account_free_slots_are_no_more_than_each_number_supports(fields, available):
    capacity = account(**fields)

    assert capacity.available == available
    assert capacity.warnings == ()


@pytest.mark.parametrize(
    ("fields", "executing"),
    [
        ({"maxJobs": 5, "available": 3}, 2),
        ({"maxJobs": 2, "available": 9}, 0),
        ({"available": 3}, 0),
    ],
)
def test_account_without_executing_executes_all_slots_that_are_not_free(fields, executing):
    assert account(**fields).accounts[0].executing == executing


def test_account_without_max_jobs_adds_none_to_the_total():
    assert account(available=3).max_jobs == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"maxJobs": 10, "executing": 0, "available": "many"},
        {"maxJobs": 10, "executing": 0, "available": True},
        {"maxJobs": 10, "executing": 0, "available": 2.5},
        {"maxJobs": 10, "executing": 0, "available": 10**9},
        {"maxJobs": 10, "executing": 0, "available": [10]},
        {"available": "many"},
        {"maxJobs": None, "executing": 1},
        {"maxJobs": 10},
        {},
    ],
)
def test_account_with_a_wrong_number_has_no_free_slot_and_a_warning(fields):
    capacity = account(**fields)

    assert capacity.available == 0
    assert [account.user_id for account in capacity.accounts] == ["a"]
    assert len(capacity.warnings) == 1


def test_account_without_id_does_not_count_and_causes_a_warning():
    capacity = parsed({"available": [{"maxJobs": 10, "executing": 0, "available": 10}]})

    assert (capacity.available, capacity.accounts) == (0, ())
    assert "without id" in capacity.warnings[0]


def test_account_that_is_listed_twice_counts_by_its_first_entry():
    first = {"user_id": "a", "maxJobs": 2, "executing": 1, "available": 1}
    capacity = parsed({"available": [first, {**first, "available": 2, "executing": 0}]})

    assert capacity.available == 1
    assert "twice" in capacity.warnings[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [("executing", "'executing' holds something"), ("available", "'available' holds something")],
)
def test_capacity_entry_that_is_no_object_causes_a_warning_and_the_others_count(name, said):
    capacity = parsed({name: ["text", {"user_id": "a", "available": 2}]})

    assert len(capacity.jobs) + len(capacity.accounts) == 1
    assert [said in warning for warning in capacity.warnings] == [True]


NUMBER_WITHOUT_SENSE = [{"user_id": LONG_TEXT, "available": LONG_TEXT}]
NO_NUMBERS = [{"user_id": LONG_TEXT}]
LISTED_TWICE = [{"user_id": LONG_TEXT, "available": 1}] * 2


@pytest.mark.parametrize(
    ("entries", "shown"), [(NUMBER_WITHOUT_SENSE, 2), (NO_NUMBERS, 1), (LISTED_TWICE, 1)]
)
def test_capacity_warning_quotes_a_long_value_shortened(entries, shown):
    (warning,) = parsed({"available": entries}).warnings

    assert warning.count("long") == shown
    assert warning.isprintable()
    assert len(warning) < 200


@pytest.mark.parametrize(
    "payload", [{"executing": []}, {"available": []}, {"executing": [], "available": None}]
)
def test_capacity_with_one_of_the_two_lists_is_read(payload):
    assert parsed(payload).available == 0


@pytest.mark.parametrize(
    "payload",
    [None, [], "text", 3, {}, {"error": "x"}, {"available": {}}, {"executing": "none"}, {"available": 0}],
)
def test_capacity_payload_of_another_kind_is_an_error(payload):
    with pytest.raises(CapacityFormatError):
        parsed(payload)


@pytest.mark.parametrize("payload", [LONG_TEXT, {"available": LONG_TEXT}])
def test_capacity_error_quotes_a_long_value_shortened(payload):
    with pytest.raises(CapacityFormatError, match="long") as caught:
        parsed(payload)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_capacity_error_of_an_object_without_the_lists_names_them():
    with pytest.raises(CapacityFormatError, match="available"):
        parsed({"error": "x"})


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b'{"executing": [', b"NaN", b"\xff\xfe", b"[" * 100_000, b"9" * 10_000],
    ids=["empty", "html", "truncated", "nan", "not-utf8", "deep", "long-number"],
)
def test_capacity_body_that_is_no_json_object_is_an_error(body):
    with pytest.raises(CapacityFormatError, match="JSON"):
        SERVICES["riffusion"].read_capacity(body, observed_at=NOON)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://user:secret@hooks.example.com:8443/a/b?sig=secret#x", "https://hooks.example.com:8443/a/b"),
        ("http://example.com", "http://example.com"),
        ("http://[::1", None),
        ("mailto:me@example.com?subject=secret", None),
        ("not a url?secret", None),
        (7, None),
    ],
)
def test_job_callback_address_is_kept_without_secrets(given, kept):
    assert parsed({"executing": [{"replyUrl": given}]}).jobs[0].reply_url == kept


@pytest.mark.parametrize(
    ("elapsed", "seconds"),
    [("00:35", 35), ("61:05", 3665), ("02:00:01", 7201), ("1:2:3:4", None), ("soon", None), (35, None)],
)
def test_job_elapsed_is_minutes_and_seconds_or_hours_too(elapsed, seconds):
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert parsed({"executing": [{"elapsed": elapsed}]}).jobs[0].elapsed == expected


@pytest.mark.parametrize(
    ("field", "attribute"), [("id", "job_id"), ("user_id", "user_id"), ("replyRef", "reply_ref")]
)
def test_job_ids_and_reference_that_are_numbers_become_text(field, attribute):
    assert getattr(parsed({"executing": [{field: 7}]}).jobs[0], attribute) == "7"


def test_job_start_without_time_zone_is_utc():
    assert parsed({"executing": [{"started": "2025-02-12T01:55:16"}]}).jobs[0].started == datetime(
        2025, 2, 12, 1, 55, 16, tzinfo=UTC
    )
