"""Takes readings, and says by the exit code how that went."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NoReturn

from airflow_riffusion.cli.lookup import explained
from airflow_riffusion.cli.streams import complain
from airflow_riffusion.cli.views import opened_view
from airflow_riffusion.core.ledger import READINGS_TO_CONFIRM
from airflow_riffusion.exceptions import (
    RiffusionBadResponse,
    RiffusionConnectionNotFound,
    RiffusionError,
    RiffusionRejected,
    RiffusionUnavailable,
)
from airflow_riffusion.hooks.riffusion import RiffusionHook

if TYPE_CHECKING:
    from airflow_riffusion.cli.views import View
    from airflow_riffusion.core.capacity import Capacity

READING_TAKEN = 0
UNAVAILABLE = 1
REJECTED = 2

_LONGEST_RETRY_AFTER = 600.0  # seconds


def show(conn_id: str, output: str, *, interval: float | None = None) -> int:
    """
    Show a reading, or one after another until somebody interrupts it.

    A single reading is a single request: whether it helps to try again, the exit code says.

    :param conn_id: the Airflow connection.
    :param output: ``table``, ``json`` or ``yaml``.
    :param interval: seconds between readings; None for a single one.
    :return: 0 if the reading was taken, or nobody reads on; 1 if the service is unavailable, or its answer
        is no capacity answer; 2 if it says no, or the connection can't work.
    """
    hook = RiffusionHook(conn_id)
    try:
        with opened_view(output, conn_id, watch=interval is not None) as view:
            if interval is None:
                view.show(_read(hook))
            else:
                _watch(view, hook, interval)
    except RiffusionError as error:
        complain(str(error))
        return REJECTED if isinstance(error, RiffusionRejected) else UNAVAILABLE
    except BrokenPipeError:
        pass  # Whoever read this has seen enough.
    return READING_TAKEN


def _watch(view: View, hook: RiffusionHook, interval: float) -> NoReturn:
    """
    Show a reading per interval, without end.

    :param interval: seconds from one answer to the next request, unless the service wants more.
    :raises RiffusionRejected: if the service or the connection says no.
    """
    bad_responses = 0
    while True:
        pause = interval
        try:
            view.show(_read(hook))
            bad_responses = 0
        except (RiffusionBadResponse, RiffusionUnavailable) as error:
            if isinstance(error, RiffusionBadResponse):
                bad_responses += 1
                if bad_responses == READINGS_TO_CONFIRM:
                    raise error.as_rejected() from None
            else:
                bad_responses = 0
                pause = max(interval, min(error.retry_after or 0.0, _LONGEST_RETRY_AFTER))
            now = datetime.now(tz=UTC)
            view.trouble(error, now, now + timedelta(seconds=pause))
        time.sleep(pause)


def _read(hook: RiffusionHook) -> Capacity:
    hook.forget_connection()  # It may have changed since the last reading.
    try:
        return hook.get_complete_capacity()
    except RiffusionConnectionNotFound as error:
        raise explained(error, hook.riffusion_conn_id) from None
