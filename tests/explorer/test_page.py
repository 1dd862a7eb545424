"""The page in headless Chromium: a click on a body, and what is drawn and written then."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.explorer import chromium
from tests.explorer.chromium import Page, open_page
from tests.explorer.serving import serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium.PROGRAM is None, reason="no Chromium on this machine"),
]
READY = "document.body && document.body.dataset.state === 'ready'"


@pytest.fixture(scope="module")
def address(explorer) -> Iterator[str]:
    with serving(explorer) as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Iterator[Page]:
    with open_page(tmp_path_factory.mktemp("browser") / "profile") as browser:
        yield browser


def place_of(page: Page, canvas: str, x: float, y: float) -> tuple[int, int]:
    """Where a place of the table is in the window, in px."""
    box = page.run(f"document.getElementById('{canvas}').getBoundingClientRect().toJSON()")
    return round(box["x"] + x / 512 * box["width"]), round(box["y"] + y / 512 * box["height"])


def picture_of(page: Page, canvas: str) -> np.ndarray:
    (left, top), (right, bottom) = place_of(page, canvas, 0, 0), place_of(page, canvas, 512, 512)
    return page.picture()[top:bottom, left:right].astype(int)


def of_colour(picture: np.ndarray, colour: str) -> np.ndarray:
    """Which pixels are about of a colour ``#rrggbb``, bool ``(Y, X)``."""
    return np.abs(picture - np.array(list(bytes.fromhex(colour[1:])))).max(axis=-1) < 40


def test_a_click_on_a_body_removes_it(page, address, explorer):
    page.show(f"{address}?scene=4&block=0&arrows=off", 1200, 2000)
    page.wait(READY)
    first = explorer.answer({"scene": "4"})
    other = next(body for body in first["bodies"] if body != first["settings"]["body"])
    before = {name: picture_of(page, name) for name in ("simulator-factual", "simulator-changed")}
    page.click(*place_of(page, "simulator-factual", *first["tracks"]["true_factual"][0][other]))
    page.wait(f"location.search.includes('body={other}') && {READY}")
    assert page.run("document.querySelector('figcaption.changed').textContent") == f"body {other} removed"
    after = {name: picture_of(page, name) for name in before}
    colour = first["sprites"][other]["colour"]
    assert of_colour(before["simulator-changed"], colour).sum() > 100
    assert of_colour(after["simulator-changed"], colour).sum() < 10
    assert of_colour(after["simulator-factual"], colour).sum() > 100
    expected = explorer.answer({"scene": "4", "body": str(other)})["effects"]
    rows = page.run(
        "[...document.querySelectorAll('#effects tbody tr')].map(row => [...row.cells].map(c => c.innerText))"
    )
    assert [row[0] for row in rows] == [f"body {effect['body']}" for effect in expected]
    for row, effect in zip(rows, expected, strict=True):
        assert row[1] == ("–" if effect["true_effect"] is None else f"{effect['true_effect']:g}")


def test_the_model_is_drawn_where_it_predicts(page, address, explorer):
    """Ten units to the right of the simulator, which it copies but for that."""
    page.show(f"{address}?scene=4&block=1&arrows=off", 1200, 2000)
    page.wait(READY)
    answer = explorer.answer({"scene": "4"})
    true, predicted = (answer["tracks"][name][1] for name in ("true_factual", "factual"))
    body = answer["settings"]["body"]
    assert predicted[body][0] == pytest.approx(true[body][0] + 10, abs=0.5)
    middles = []
    for canvas in ("simulator-factual", "model-factual"):
        picture = picture_of(page, canvas)
        columns = of_colour(picture, answer["sprites"][body]["colour"]).nonzero()[1]
        middles.append(columns.mean() / picture.shape[1] * 512)
    assert middles[1] - middles[0] == pytest.approx(10, abs=3)


def test_a_bad_address_shows_one_line(page, address):
    page.show(f"{address}?scene=99", 420, 900)
    page.wait("document.body && document.body.dataset.state === 'refused'")
    assert page.run("document.getElementById('error').innerText") == "scene 99: expected 0..8"


@pytest.mark.parametrize("width", [420, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_every_width_and_both_schemes(page, address, width, dark):
    page.show(f"{address}?scene=4&block=2", width, 900, dark)
    page.wait(READY)
    assert page.run("document.documentElement.scrollWidth") == width
    assert (page.picture()[2, 2].mean() < 60) == dark
    assert page.run("performance.getEntriesByType('resource').every(one => one.name.startsWith(location.origin))")


def test_candidates_are_drawn(page, plans):
    """Blue lines of the agent's candidates, whose darkest leave the picture of the start."""
    with serving(plans) as address:
        page.show(f"{address}?block=0", 1200, 1200)
        page.wait(READY)
        blue = picture_of(page, "model-plan"), picture_of(page, "simulator")
        wide = [int(((view[..., 2] - view[..., 0]) > 40).sum()) for view in blue]
        assert wide[0] > wide[1] + 100
        assert page.run("document.querySelector('#outcome tbody').rows.length") == 2
        assert page.run("document.documentElement.scrollWidth") == 1200
