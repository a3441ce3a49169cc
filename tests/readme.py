"""The README's examples, taken out of it for tests."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def dags() -> list[str]:
    return [block for block in blocks("python") if "@dag(" in block]


def scripts() -> list[str]:
    return [block for block in blocks("python") if "@dag(" not in block]


def table(heading: str) -> dict[str, str]:
    """Return the first two columns of the table under a heading."""
    section = README.partition(f"{heading}\n")[2]
    rows = re.findall(r"^\| `([\w.-]+)`.*? \| (.*?)\s*\|", section.partition("\n\n#")[0], re.MULTILINE)
    return dict(rows)
