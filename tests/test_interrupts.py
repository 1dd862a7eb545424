import signal
import sys
import time

import pymunk
import pytest

from cjepa import interrupts


@pytest.fixture
def space():
    """A space whose only body is interrupted in the middle of a step."""
    space, body = pymunk.Space(), pymunk.Body(1, 1)
    body.velocity_func = lambda *_: signal.raise_signal(signal.SIGINT)
    space.add(body, pymunk.Circle(body, 1))
    return space


def test_an_interrupt_in_a_callback_reaches_the_program(space, capfd):
    before = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), interrupts.passed_on():
        space.step(0.1)
        time.sleep(20)
    assert sys.unraisablehook is before and capfd.readouterr().err == ""


def test_other_faults_of_callbacks_are_still_told(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    space, body = pymunk.Space(), pymunk.Body(1, 1)
    body.velocity_func = lambda *_: 1 / 0
    space.add(body, pymunk.Circle(body, 1))
    with interrupts.passed_on():
        space.step(0.1)
    assert [unraisable.exc_type for unraisable in told] == [ZeroDivisionError]
