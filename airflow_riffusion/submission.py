"""
What is submitted for a song, checked before it is its turn.

Pure: no Airflow, no clock, no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_riffusion.request import checked_endpoint

LONGEST_REPLY_REF = 1024
"""Characters that a ``replyRef`` may have (https://useapi.net/docs/api-riffusion-v1)."""


@dataclass(frozen=True, slots=True)
class Submission:
    """
    What a DAG author wants submitted.

    :param endpoint: where to, relative to ``v1/<service>/``.
    :param json: what, without what the operator adds.
    """

    endpoint: str
    json: Mapping[str, Any]

    @classmethod
    def checked(cls, endpoint: object, body: object) -> Submission:
        """
        Return what can be sent.

        :raises ValueError: if it can't be.
        """
        if not isinstance(body, Mapping):
            raise ValueError(f"json must be a dict, what is to be submitted, not {body!r:.200}")
        try:
            json.dumps(dict(body), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"json can't be sent as JSON: {error}") from None
        given = body.get("replyRef")
        if given is not None and not (isinstance(given, str) and len(given) <= LONGEST_REPLY_REF):
            raise ValueError(
                f"json's replyRef must be text of at most {LONGEST_REPLY_REF} characters, not {given!r:.60}"
            )
        return cls(checked_endpoint(endpoint), body)

    @property
    def account(self) -> Any:
        """The account that the DAG author named, or None."""
        return self.json.get("user_id") or self.json.get("email") or None

    def among(self, user_ids: Collection[str] | None) -> Collection[str] | None:
        """
        Return which accounts count: the one that is named, if there is one.

        :param user_ids: those that the DAG author wants; None for all.
        :raises ValueError: if the one that is named is none of them.
        """
        if self.account is None:
            return user_ids
        if user_ids is not None and self.account not in user_ids:
            raise ValueError(f"json is for account {self.account}, which is not among user_ids")
        return [self.account]

    def reply_ref(self, own: str) -> str:
        """
        Return the ``replyRef`` of the job: the DAG author's, unless a template had nothing to say.

        :param own: the task's own.
        """
        return self.json.get("replyRef") or own

    def body(self, reply_ref: str, account_field: str, user_id: str) -> dict[str, Any]:
        """
        Return what is sent.

        :param reply_ref: the ``replyRef`` of the job.
        :param account_field: what the service calls an account.
        :param user_id: the account with the free slot.
        """
        account = {account_field: user_id} if self.account is None else {}
        return {**self.json, **account, "replyRef": reply_ref}
