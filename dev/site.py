"""Check the built site: links lead to a page and its anchor, and nothing is loaded from another host."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

_FROM_ELSEWHERE = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""")


class _Page(HTMLParser):
    """The anchors of one page, what it links to, and what a browser loads for it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if anchor := given.get("id"):
            self.anchors.add(anchor)
        if target := given.get("href") or given.get("src"):
            (self.links if tag == "a" else self.loaded).append(target)


def problems(site: Path) -> Iterator[str]:
    """Find what is broken in a folder of pages, each problem in one line."""
    pages = {path.resolve(): _Page(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        yield from (f"{name} loads {each} from elsewhere" for each in page.loaded if _is_elsewhere(each))
        for link in filter(None, page.links + page.loaded):
            if not _is_elsewhere(link) and (problem := _broken(link, path, pages)):
                yield f"{name} links to {link}: {problem}"
    for path in sorted(site.rglob("*.css")):
        yield from (
            f"{path.relative_to(site)} loads {each} from elsewhere"
            for each in _FROM_ELSEWHERE.findall(path.read_text())
        )


def _is_elsewhere(link: str) -> bool:
    parts = urlsplit(link)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def _broken(link: str, path: Path, pages: dict[Path, _Page]) -> str | None:
    """Return what is wrong with a link within the site; None if nothing is."""
    parts = urlsplit(link)
    if parts.scheme:  # data within the page
        return None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        return "there is no such file"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "there is no such anchor"
    return None


def main() -> None:
    """Check the folder that is given, say what is broken, and exit with 1 if anything is."""
    site = Path(sys.argv[1])
    found = list(problems(site))
    for problem in found:
        print(problem)
    if found or not (site / "index.html").exists():
        sys.exit(1)
    print(f"{len(list(site.rglob('*.html')))} pages in {site}, and every link leads somewhere")


if __name__ == "__main__":
    main()
