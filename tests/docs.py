"""README.md and the pages of the site, taken apart for tests; as a program, it writes out their Python."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]

_MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, and what is in it."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def compile(self) -> CodeType:
        """Compile its Python, so that a traceback names the page and its line."""
        return compile("\n" * (self.line - 1) + self.text, self.page, "exec")


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its Markdown, and the code in it."""

    text: str
    codes: list[str]

    @property
    def value(self) -> str:
        """What it says, without the backticks of code."""
        return self.text.strip("`")


class Page:
    """One Markdown file, by its path below the repository."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = ROOT / name
        self.text = self.path.read_text()
        self._tokens = _MARKDOWN.parse(self.text)

    def __str__(self) -> str:
        return self.name

    @property
    def blocks(self) -> list[Block]:
        fences = (token for token in self._tokens if token.type == "fence")
        return [Block(self.name, token.map[0] + 2, token.info, token.content) for token in fences]

    @property
    def indented_code(self) -> list[str]:
        return [token.content for token in self._tokens if token.type == "code_block"]

    @property
    def links(self) -> list[str]:
        return [
            str(token.attrs.get("href") or token.attrs.get("src"))
            for inline in self._tokens
            for token in inline.children or ()
            if token.type in ("link_open", "image")
        ]

    @property
    def code_spans(self) -> list[str]:
        return [span for inline in self._tokens for span in _code_spans(inline)]

    @property
    def words(self) -> list[str]:
        """What a reader reads, without code blocks and images."""
        paragraphs = (
            "".join(
                "\n" if child.type == "softbreak" else child.content
                for child in inline.children
                if child.type != "image"
            )
            for inline in self._tokens
            if inline.children
        )
        return "\n".join(paragraphs).split()

    @property
    def anchors(self) -> list[str]:
        """The anchors of the headings, as the forge and the site make them."""
        return [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in self._titles().values()]

    def table(self, heading: str, column: str) -> list[list[Cell]]:
        """Return the rows of the table below a heading whose first column is called so."""
        titles = self._titles()
        start = next((index for index, title in titles.items() if title == heading), len(self._tokens))
        end = min((index for index in titles if index > start), default=len(self._tokens))
        for index in range(start, end):
            if self._tokens[index].type == "table_open":
                header, *rows = _rows(self._tokens[index:])
                if header[0].text == column:
                    return rows
        raise LookupError(f"{self.name} has no table of each {column!r} below {heading!r}")

    def _titles(self) -> dict[int, str]:
        """Return the headings by their place among the tokens."""
        places = (index for index, token in enumerate(self._tokens) if token.type == "heading_open")
        return {
            index: "".join(child.content for child in self._tokens[index + 1].children) for index in places
        }


def _code_spans(inline: Token) -> list[str]:
    return [token.content for token in inline.children or () if token.type == "code_inline"]


def _rows(tokens: list[Token]) -> list[list[Cell]]:
    """Return the cells of a table that begins here, row by row, the header first."""
    rows: list[list[Cell]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(Cell(token.content, _code_spans(token)))
        elif token.type == "table_close":
            break
    return rows


README = Page("README.md")
_SITE = (Page(f"docs/{path.name}") for path in sorted((ROOT / "docs").glob("*.md")))
PAGES = {page.name: page for page in (README, Page("CONTRIBUTING.md"), Page("SECURITY.md"), *_SITE)}


def blocks(language: str) -> list[Block]:
    return [block for page in PAGES.values() for block in page.blocks if block.language == language]


def dags() -> list[Block]:
    return [block for block in blocks("python") if "@dag(" in block.text]


def scripts() -> list[Block]:
    return [block for block in blocks("python") if "@dag(" not in block.text]


def write_python(folder: Path) -> None:
    """Write each page's Python into a file of its own, at the lines where it stands in the page."""
    for page in PAGES.values():
        lines = [""] * len(page.text.splitlines())
        for block in (block for block in page.blocks if block.language == "python"):
            code = block.text.splitlines()
            lines[block.line - 1 : block.line - 1 + len(code)] = code
        file = folder / f"{page.name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write_python(Path(sys.argv[1]))
