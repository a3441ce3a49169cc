from __future__ import annotations

import pytest

from dev.site import problems


@pytest.fixture
def site(tmp_path):
    """Return a function that writes a file of the site."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return tmp_path

    write("index.html", '<h1 id="top">Songs</h1>')
    return write


@pytest.mark.parametrize(
    "link",
    ["", "#top", "#", "index.html", "index.html#top", "../index.html#top", "https://example.com/#no"],
)
def test_site_link_that_leads_somewhere_is_no_problem(site, link):
    folder = site("pages/page.html", f'<a href="{link}" id="top"></a>')
    site("pages/index.html", '<p id="top"></p>')

    assert list(problems(folder)) == []


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("gone.html", "there is no such file"),
        ("index.html#gone", "there is no such anchor"),
        ("#gone", "there is no such anchor"),
        ("static", "there is no such file"),
    ],
)
def test_site_link_that_leads_nowhere_is_a_problem(site, link, problem):
    site("static/page.css", "")
    folder = site("page.html", f'<a href="{link}"></a>')

    assert list(problems(folder)) == [f"page.html links to {link}: {problem}"]


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://cdn.example.com/x.js"></script>',
        '<link rel="stylesheet" href="//cdn.example.com/x.css">',
        '<img src="http://example.com/x.png">',
    ],
)
def test_site_page_that_loads_from_another_host_is_a_problem(site, tag):
    (problem,) = problems(site("page.html", tag))

    assert problem.startswith("page.html loads ")


@pytest.mark.parametrize("rule", ["src: url('https://example.com/f.woff')", '@import "//example.com/x.css"'])
def test_site_style_that_loads_from_another_host_is_a_problem(site, rule):
    (problem,) = problems(site("static/page.css", rule))

    assert problem.startswith("static/page.css loads ")


def test_site_image_that_is_data_is_no_problem(site):
    assert list(problems(site("page.html", '<img src="data:image/png;base64,AAAA">'))) == []


def test_site_image_that_is_missing_is_a_problem(site):
    assert list(problems(site("page.html", '<img src="gone.png">'))) == [
        "page.html links to gone.png: there is no such file"
    ]
