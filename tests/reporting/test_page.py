"""A page in headless Chromium: its tables sort and filter, offline, and it needs no script to be read."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from markupsafe import Markup

from cjepa.reporting.page import render
from cjepa.reporting.pivot import plain_table
from tests.explorer import chromium
from tests.explorer.chromium import Page, open_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium on this machine"),
]
ROWS = [["b", "9 [8, 10]"], ["a", "10 [9, 11]"], ["c", ""], ["d", "-1"], *([f"m{k}", f"{k}"] for k in range(100, 105))]
LOADED = "document.readyState === 'complete' && document.querySelector('table')"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("page")
    content = plain_table([["model", "score"], *ROWS])
    foreign = Markup('<script>document.title = "ran"</script>')
    html = render("sweep.html.j2", title="<b>", results=content, coordinates=foreign)
    (folder / "page.html").write_text(html)
    with open_page(folder / "profile") as browser:
        browser.show((folder / "page.html").as_uri(), 800, 600)
        browser.wait(LOADED)
        yield browser


def shown(page: Page) -> list[str]:
    """First cells of the rows that are visible, from top to bottom."""
    cells = "[...document.querySelectorAll('tbody tr')].filter((row) => row.offsetHeight)"
    return page.run(f"{cells}.map((row) => row.cells[0].textContent)")


def click(page: Page, column: int) -> str | None:
    """Click the header of a column; returns what it says of the order."""
    page.run(f"document.querySelectorAll('thead button')[{column}].click()")
    return page.run(f"document.querySelectorAll('thead th')[{column}].getAttribute('aria-sort')")


def test_numbers_sort_by_value_and_words_by_letter(page):
    names, rest = [row[0] for row in ROWS], [f"m{k}" for k in range(100, 105)]
    assert shown(page) == names
    assert click(page, 1) == "ascending" and shown(page) == ["d", "b", "a", *rest, "c"]
    assert click(page, 1) == "descending" and shown(page) == [*rest[::-1], "a", "b", "d", "c"]
    assert click(page, 0) == "ascending" and shown(page) == ["a", "b", "c", "d", *rest]
    assert page.run("document.querySelectorAll('[aria-sort]').length") == 1
    click(page, 0)
    assert click(page, 0) is None and shown(page) == names


def test_words_in_the_box_filter_the_rows(page):
    def typed(text: str) -> list[str]:
        page.run(f"box = document.querySelector('.filter input'); box.value = {text!r}")
        page.run("box.dispatchEvent(new Event('input'))")
        return shown(page)

    assert typed("M 10") == [row[0] for row in ROWS[-5:]]  # not "a", whose 10 is without an m
    assert page.run("document.querySelector('.filter output').textContent") == "5 of 9 rows"
    assert typed("") == [row[0] for row in ROWS]


def test_no_other_script_runs_and_nothing_is_loaded(page):
    assert page.run("document.title") == "<b>"
    attempt = "fetch('data:text/plain,x').then(() => 'loaded', () => 'refused')"
    assert page.run(attempt) == "refused"


def test_a_dark_window_has_a_dark_page(page):
    ink = "getComputedStyle(document.body).color"
    light = page.run(ink)
    page.show(Path(page.run("location.pathname")).as_uri(), 800, 600, dark=True)
    page.wait(LOADED)
    assert (light, page.run(ink)) == ("rgb(36, 41, 47)", "rgb(228, 232, 236)")
