"""What a release says of itself: its metadata, its page on a package index, its section of the changelog."""

from __future__ import annotations

import re
from datetime import date

import pytest
import yaml
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager

from airflow_riffusion import __version__
from dev.matrix import ROWS
from tests import docs


@pytest.fixture(scope="module")
def metadata():
    """Return the metadata as a package index gets it."""
    return ProjectMetadata(str(docs.ROOT), PluginManager()).core


@pytest.fixture(scope="module")
def index_page(metadata, tmp_path_factory):
    """Return the page that a package index makes of the README."""
    path = tmp_path_factory.mktemp("index") / "README.md"
    path.write_text(metadata.readme)
    return docs.Page(str(path))


def test_index_page_links_to_nothing_in_the_repository(index_page):
    assert [link for link in index_page.links if not re.match("https?:", link)] == []


def test_index_page_keeps_headings_and_code(index_page):
    assert index_page.anchors == docs.README.anchors
    assert [block.text for block in index_page.blocks] == [block.text for block in docs.README.blocks]


def test_index_page_keeps_every_word(index_page):
    words = docs.README.words

    assert index_page.words[: len(words)] == words


def test_index_page_is_markdown(metadata):
    assert metadata.readme_content_type == "text/markdown"


def test_classifiers_name_the_pythons_that_are_tested(metadata):
    named = {each.rpartition(" ")[2] for each in metadata.classifiers if re.search(r":: 3\.\d+$", each)}

    assert named == {row.python for row in ROWS}


def test_version_has_the_newest_dated_section_of_the_changelog():
    titles = re.findall(r"^## (.*)$", (docs.ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    version, _, day = next(title for title in titles if title != "Unreleased").partition(" - ")

    assert version == __version__
    assert date.fromisoformat(day)


def test_pre_commit_runs_what_make_lint_checks_and_downloads_nothing():
    configuration = yaml.safe_load((docs.ROOT / ".pre-commit-config.yaml").read_text())

    assert [repo["repo"] for repo in configuration["repos"]] == ["local"]
    assert [hook["entry"] for repo in configuration["repos"] for hook in repo["hooks"]] == ["make lint"]
