"""The readings of ``capacity``, and the exit codes that say how they went."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from rich.live import Live

from airflow_riffusion import clock, exceptions
from airflow_riffusion.cli.lookup import explain_not_found
from airflow_riffusion.cli.output import Printer, Screen, open_console, print_error
from airflow_riffusion.core.backoff import Backoff
from airflow_riffusion.hooks.riffusion import RiffusionHook

if TYPE_CHECKING:
    from argparse import Namespace

    from airflow_riffusion.core.capacity import Capacity


def show(options: Namespace) -> None:
    """Show one reading, or with ``--watch`` one after another; exit if there is none."""
    hook, console = RiffusionHook(options.conn_id), open_console()
    printer = Printer(console, options.conn_id, options.output)
    try:
        if not options.watch:
            printer.show(_read(hook))
        elif options.output == "table" and console.is_interactive:
            # The alternate screen is redrawn as a whole: a resize leaves nothing of earlier drawings.
            with Live(console=console, screen=True, refresh_per_second=1) as live:
                _watch(hook, options.interval, Screen(live, options.conn_id))
        else:
            _watch(hook, options.interval, printer)
    except exceptions.RiffusionError as error:
        print_error(str(error))
        raise SystemExit(2 if isinstance(error, exceptions.RiffusionRejected) else 1) from None


def _watch(hook: RiffusionHook, interval: float, view: Printer | Screen) -> NoReturn:
    """Show a reading per interval until the service or the connection says no."""
    backoff = Backoff(interval, longest=interval)
    while True:
        pause = interval
        try:
            view.show(_read(hook))
            backoff.succeeded()
        except (exceptions.RiffusionBadResponse, exceptions.RiffusionUnavailable) as error:
            bad = error if isinstance(error, exceptions.RiffusionBadResponse) else None
            pause = backoff.failed(0.0, getattr(error, "retry_after", None), bad_answer=bad is not None)
            if bad is not None and backoff.gives_up:
                raise bad.as_rejected() from None
            view.report(f"{error} Next reading in {pause:g} s.")
        clock.sleep(pause)


def _read(hook: RiffusionHook) -> Capacity:
    hook.forget_connection()  # It may have changed since the last reading.
    try:
        return hook.get_complete_capacity()
    except exceptions.RiffusionConnectionNotFound as error:
        raise explain_not_found(error, hook.riffusion_conn_id) from None
