"""
What to submit, checked before the wait for a slot.

Pure: no Airflow, no clock, no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_riffusion.core.arguments import account_ids, identifier, optional_endpoint, plain, reference

# What the services call an account.
_ACCOUNT_FIELDS = ("user_id", "email", "account")

LONGEST_REPLY_REF = 1024
"""Characters that a ``replyRef`` may have (https://useapi.net/docs/api-riffusion-v1)."""


def checked_json(value: object) -> Mapping[str, Any]:
    """
    Return what is to be submitted.

    :raises ValueError: if it is no mapping.
    """
    if not isinstance(value, Mapping):
        raise ValueError(
            f'json must be a dict such as {{"prompt": "…"}}, what is to be submitted, not {value!r:.200}'
        )
    return value


def checked_reply_ref(name: str, value: object) -> str:
    """
    Return a ``replyRef`` as text.

    :raises ValueError: if a service would not take it.
    """
    reply_ref = reference(name, value)
    if len(reply_ref) > LONGEST_REPLY_REF:
        raise ValueError(f"{name} must have at most {LONGEST_REPLY_REF} characters, not {reply_ref!r:.60}")
    return reply_ref


def own_reference(ti: Any) -> str:
    """Return the ``replyRef`` of a task's job: the same in every try, so that a retry can tell its job."""
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}"


@dataclass(frozen=True, slots=True)
class Submission:
    """
    What a DAG author wants to submit.

    :param endpoint: where to, relative to the service's path; None for the service's own.
    :param json: the body, without what the operator adds.
    """

    endpoint: str | None
    json: Mapping[str, Any]

    @classmethod
    def checked(cls, endpoint: object, body: object) -> Submission:
        """
        Return what can be sent.

        :raises ValueError: if it can't be.
        """
        try:
            what = plain(checked_json(body))
        except RecursionError:
            raise ValueError("json can't be sent as JSON: it is nested too deep, or holds itself") from None
        if (given := what.get("replyRef")) not in (None, ""):
            what["replyRef"] = checked_reply_ref("json's replyRef", given)
        try:
            json.dumps(what, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"json can't be sent as JSON: {error}") from None
        return cls(optional_endpoint(endpoint), what)

    @property
    def account(self) -> str | None:
        """
        The account that the json names, as text; None if it names none.

        :raises ValueError: if it can't be one, or several are named.
        """
        values = [self.json[field] for field in _ACCOUNT_FIELDS if self.json.get(field)]
        named = {identifier("json's account", value) for value in values}
        if len(named) > 1:
            raise ValueError(f"json names more than one account: {', '.join(sorted(named))}")
        return next(iter(named), None)

    def among(self, user_ids: object) -> Collection[str] | None:
        """
        Return the accounts that count: the one that the json names, if it does.

        :raises ValueError: if they can't be account ids, or the json names another one.
        """
        accounts = account_ids(user_ids)
        if self.account is None:
            return accounts
        if accounts is not None and self.account not in accounts:
            raise ValueError(f"json is for account {self.account}, which is not among user_ids")
        return [self.account]

    def check_agrees(self, user_id: str, reply_ref: str) -> None:
        """
        Compare the json with what it is submitted for.

        :raises ValueError: if it names another account, or has another ``replyRef``.
        """
        if self.account not in (None, user_id):
            raise ValueError(f"json is for account {self.account}, and user_id is {user_id}")
        if (named := self.reply_ref(reply_ref)) != reply_ref:
            raise ValueError(f"json's replyRef is {named!r:.200}, and reply_ref is {reply_ref!r:.200}")

    def reply_ref(self, own: str) -> str:
        """Return the ``replyRef`` of the job: the json's, or our own if that is missing or empty."""
        return self.json.get("replyRef") or own

    def body(
        self, reply_ref: str, account_field: str, user_id: str, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what is sent; ``fields``: what the service needs besides, unless the json says otherwise."""
        account = {} if self.json.get(account_field) else {account_field: user_id}
        return {**fields, **self.json, **account, "replyRef": reply_ref}
