"""The README's examples, taken out of it for tests; run as a program, it prints them for a linter."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def python_in_place() -> str:
    """Return the README with everything but its Python blanked, so that a linter's line numbers are right."""
    language = None
    lines = []
    for line in README.splitlines():
        is_fence = line.startswith("```")
        if is_fence:
            language = line[3:] if language is None else None
        lines.append(line if language == "python" and not is_fence else "")
    return "\n".join(lines)


def dags() -> list[str]:
    return [block for block in blocks("python") if "@dag(" in block]


def scripts() -> list[str]:
    return [block for block in blocks("python") if "@dag(" not in block]


def table(heading: str) -> dict[str, str]:
    """Return the first two columns of the table under a heading."""
    section = README.partition(f"{heading}\n")[2]
    rows = re.findall(r"^\| `([\w.-]+)`.*? \| (.*?)\s*\|", section.partition("\n\n#")[0], re.MULTILINE)
    return dict(rows)


if __name__ == "__main__":
    print(python_in_place())  # noqa: T201 - the program's output
