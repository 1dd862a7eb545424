"""Events of arrays by hand, and of a table on which one disc rolls into another."""

import numpy as np
import pytest

from cjepa.data.recording import resimulate
from cjepa.envs.collide.env import Collide
from cjepa.envs.collide.world import MAX_BODIES, Attribute
from cjepa.questions.simulated import events_of, true_story
from cjepa.questions.stories import Event


def test_events_of_arrays():
    on_TO = np.ones((12, 3), bool)
    on_TO[:4, 0] = False  # enters
    on_TO[10:, 2] = False  # exits
    touching_TOO = np.zeros((12, 3, 3), bool)
    for step, one, other in [(2, 0, 1), (5, 0, 1), (6, 0, 1), (9, 0, 1), (8, 1, 2), (11, 1, 2)]:
        touching_TOO[step, one, other] = touching_TOO[step, other, one] = True
    assert events_of(on_TO, touching_TOO) == [
        Event("enter", 4, (0,)),  # before that nothing of it is on the table
        Event("collision", 5, (0, 1)),  # three contacts in a row, four env steps apart at most
        Event("collision", 8, (1, 2)),
        Event("exit", 10, (2,)),
    ]


@pytest.fixture(scope="module")
def story():
    """Body 0 rolls right into body 1; body 2 rests below."""
    env = Collide(num_bodies=(3, 3))
    env.reset(seed=0)
    bodies = env.get_state().reshape(MAX_BODIES, len(Attribute))
    bodies[:3, Attribute.VX : Attribute.SHAPE] = 0
    bodies[:3, Attribute.SHAPE] = 0
    bodies[:3, [Attribute.X, Attribute.Y]] = [[120, 150], [300, 150], [250, 400]]
    bodies[0, Attribute.VX] = 300
    env.set_state(bodies.ravel())
    episode = resimulate(env, env.get_state(), np.zeros((30, 2), np.float32), with_masks=False)
    return true_story(env, episode, removal_env_step=2, seen_env_steps=20)


def test_what_is_shown(story):
    assert [event.what for event in story.seen] == [("collision", (0, 1))]
    assert story.unseen == [] or all(event.kind == "exit" and event.env_step >= 20 for event in story.unseen)
    assert set(story.words) == {0, 1, 2} and all(words["shape"] == "disc" for words in story.words.values())


def test_without_either_disc_there_is_no_collision(story):
    assert set(story.without) == {0, 1, 2}
    assert [event for event in story.without[0] if event.kind == "collision"] == []
    assert [event for event in story.without[1] if event.kind == "collision"] == []
    (collision,) = [event for event in story.without[2] if event.kind == "collision"]
    assert collision == story.seen[0]


class Resting:
    """Three bodies that stay where they are; 0 and 1 touch all the time, 0 and 2 from two env steps after a restart."""

    def __init__(self):
        self.bodies = np.zeros((3, len(Attribute)))
        self.bodies[:, Attribute.PRESENT] = 1
        self.bodies[:, [Attribute.X, Attribute.Y]] = [[100, 100], [140, 100], [100, 140]]

    def set_state(self, state):
        self.there, self.steps = self.bodies.copy(), 0

    def intervene(self, intervention):
        self.there[intervention.body] = 0

    def advance(self, action):
        self.steps += 1

    def free_bodies(self):
        return [0, 1, 2]

    def objects(self):
        return self.there.copy()

    def contacts(self):
        touching_OO = np.zeros((3, 3), np.uint8)
        touching_OO[0, 1] = touching_OO[1, 0] = 1
        touching_OO[0, 2] = touching_OO[2, 0] = self.steps >= 2
        return touching_OO


def test_a_contact_from_before_the_removal_is_no_new_collision():
    env = Resting()
    env.set_state(None)
    rows = 10
    episode = {"state": np.zeros((rows, 1)), "action": np.zeros((rows, 2)), "objects": np.stack([env.bodies] * rows)}
    episode["contacts"] = np.stack([env.contacts()] * rows)
    found = true_story(env, episode, removal_env_step=4, seen_env_steps=9)
    assert found.without == {0: [], 1: [Event("collision", 6, (0, 2))], 2: []}
