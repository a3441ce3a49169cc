"""Links on a task's page in Airflow's UI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_riffusion.core.outcome import first_audio

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator


class AudioLink(BaseOperatorLink):
    """Opens the first audio file of a finished song."""

    name = "Listen"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """
        Return the address of the first audio file; empty if there is none.

        :param operator: the task's operator.
        :param ti_key: which task instance.
        """
        from airflow.providers.common.compat.sdk import XCom

        return first_audio(XCom.get_value(ti_key=ti_key, key="return_value")) or ""
