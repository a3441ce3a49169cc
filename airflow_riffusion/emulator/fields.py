"""A type of field that the bodies of all requests share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be text that UTF-8 can encode") from None
    return text


# JSON can escape half a surrogate pair: taken in as it is, it would break each answer that tells of it.
Text = Annotated[str, AfterValidator(_encodable)]
"""Text that can be given back."""
