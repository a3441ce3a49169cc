from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_riffusion.exceptions import (
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.hooks.riffusion import RiffusionHook


def test_hook_missing_connection_is_airflows_not_found_error(connect):
    with pytest.raises(AirflowNotFoundException, match="no_such_connection") as caught:
        RiffusionHook("no_such_connection").get_capacity()
    assert isinstance(caught.value, RiffusionRejected)


@pytest.mark.parametrize("value", ['{"conn_type": "riffusion", "password": ', "riffusion://:a@b:port", ""])
def test_hook_unreadable_connection_variable_is_named(monkeypatch, value):
    monkeypatch.setenv("AIRFLOW_CONN_MINE", value)

    with pytest.raises(AirflowNotFoundException, match="the variable AIRFLOW_CONN_MINE is set, but holds no"):
        RiffusionHook("mine").get_capacity()


def test_hook_invalid_settings_are_rejected_before_any_request(connect, answering):
    server = answering(b"{}")

    with pytest.raises(RiffusionRejected, match="service must be one of"):
        RiffusionHook(connect(server.url, extra={"service": "spotify"})).get_capacity()
    assert server.requests == []


def test_hook_failed_lookup_is_unavailable_with_the_reason(connect, monkeypatch):
    def broken(self, conn_id):
        raise OSError("the vault is sealed")

    monkeypatch.setattr(RiffusionHook, "get_connection", broken)

    with pytest.raises(RiffusionUnavailable, match=r"can't be looked up.*the vault is sealed"):
        RiffusionHook("riffusion_test").get_capacity()
