"""Made-up ids, of a job's source of randomness."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from random import Random


def new_uuid(random: Random) -> str:
    """Make a UUID."""
    return str(UUID(int=random.getrandbits(128), version=4))


def new_hex(random: Random) -> str:
    """Make a short text of digits and letters."""
    return f"{random.getrandbits(60):015x}"
