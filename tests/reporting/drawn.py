"""Checks of finished figures."""

from matplotlib.figure import Figure


def assert_nothing_is_cut(figure: Figure) -> None:
    """Axes with their labels, and legends, lie inside of the figure."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    width, height = figure.canvas.get_width_height()
    parts = [*figure.axes, *figure.legends, *(text for axes in figure.axes for text in axes.texts)]
    boxes = {part: part.get_tightbbox(renderer) for part in parts if part.get_visible()}
    assert any(box is not None for box in boxes.values())
    for part, box in boxes.items():
        if box is not None:
            assert -0.5 <= box.x0 and box.x1 <= width + 0.5 and -0.5 <= box.y0 and box.y1 <= height + 0.5, part
