"""The pages as text; whether their code runs and their tables are right, the integration tests see."""

from __future__ import annotations

import re

import pytest

from tests import docs

PAGES = docs.PAGES.values()
LANGUAGES = {"python", "json", "shell", "text"}
# What names a file or a folder of the repository, not a pattern or something that a build makes.
FILE = re.compile(r"(?:airflow_riffusion|benchmarks|constraints|dev|docs|example_dags|tests)/[\w./-]+")


def test_readme_has_at_most_150_lines():
    assert len(docs.README.text.splitlines()) <= 150


def test_readme_links_to_every_page_for_users():
    pages = {name for name in docs.PAGES if name.startswith("docs/")}
    linked = {link.partition("#")[0] for link in docs.README.links}

    # The site's first page; Sphinx fills in what the forge can't show.
    assert pages - linked == {"docs/index.md", "docs/api.md", "docs/changelog.md"}


def leads_somewhere(page, link):
    target, _, anchor = link.partition("#")
    path = (page.path.parent / target).resolve() if target else page.path
    if not path.exists():
        return False
    return not anchor or anchor in docs.Page(str(path.relative_to(docs.ROOT))).anchors


@pytest.mark.parametrize("page", [*PAGES, docs.Page("CHANGELOG.md")], ids=str)
def test_page_links_lead_to_a_file_and_its_anchor(page):
    local = [link for link in page.links if not re.match(r"https?:", link)]

    assert [link for link in local if not leads_somewhere(page, link)] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_page_anchors_are_unique(page):
    assert len(page.anchors) == len(set(page.anchors))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_page_code_is_fenced_in_a_language_that_tests_know(page):
    directives = {block.language for block in page.blocks if block.language.startswith("{")}

    assert page.indented_code == []
    assert {block.language for block in page.blocks} - directives <= LANGUAGES


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_page_named_files_exist(page):
    named = [span for span in page.code_spans if FILE.fullmatch(span)]

    assert [name for name in named if not (docs.ROOT / name).exists()] == []


def test_table_below_an_unknown_heading_is_an_error():
    with pytest.raises(LookupError, match="below 'No such heading'"):
        docs.README.table("No such heading", "service")


def test_table_with_another_first_column_is_an_error():
    with pytest.raises(LookupError, match="no table of each 'parameter'"):
        docs.README.table("Which services work", "parameter")


def test_block_that_fails_names_its_page_and_line():
    block = docs.Block("docs/songs.md", 7, "python", "1 / 0\n")

    with pytest.raises(ZeroDivisionError) as failure:
        exec(block.compile(), {})

    assert (failure.traceback[-1].path.name, failure.traceback[-1].lineno + 1) == ("songs.md", 7)
