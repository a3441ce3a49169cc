"""One reading of the service's capacity, as XCom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_riffusion.core.arguments import account_ids, conn_id, plain, unless_template
from airflow_riffusion.exceptions import checking_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import Context

    from airflow_riffusion.compat import AccountIds, Templated

# A task that reads once has no later poll to make up for a short outage.
_RETRIES = 3


class CapacityOperator(BaseOperator):
    """
    Read once which jobs run and how many slots are free, and push it to XCom.

    The whole reading is the ``return_value``; each of its keys is an XCom of its own as well, so
    ``capacity.output["available"]`` works. If the service is unavailable, the task tries three times more,
    then it fails and Airflow's ``retries`` apply. A rejection (wrong token, unknown connection) is not
    retried.

    :param riffusion_conn_id: the Airflow connection. (templated)
    :param user_ids: only these accounts count; None for all. (templated)
    :param multiple_outputs: whether each key is pushed on its own, too.
    """

    template_fields: Sequence[str] = ("riffusion_conn_id", "user_ids")
    ui_color = "#e4f0e8"
    riffusion_conn_id: Any  # text, once it is rendered

    @checking_arguments()
    def __init__(
        self,
        *,
        riffusion_conn_id: Templated[str] = "riffusion_default",
        user_ids: AccountIds | None = None,
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.riffusion_conn_id = riffusion_conn_id
        self.user_ids = user_ids
        unless_template(conn_id, riffusion_conn_id)
        unless_template(account_ids, user_ids)

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Take the reading.

        :return: the reading as plain JSON.
        """
        from airflow_riffusion.hooks.riffusion import RiffusionHook

        user_ids = plain(self.user_ids)  # fetches another task's output; its failure is no wrong argument
        with checking_arguments():
            name, accounts = conn_id(self.riffusion_conn_id), account_ids(user_ids)
        reading = RiffusionHook(name, retries=_RETRIES).get_complete_capacity().for_users(accounts)
        self.log.info("%s", reading)
        return reading.to_xcom()
