"""A scene by hand: disc 0 enters, hits square 1, which hits disc 2 and leaves; triangle 3 stands aside."""

from cjepa.questions.stories import Event, Story


def named(color: str, shape: str, material: str = "metal") -> dict[str, str]:
    return {"color": color, "shape": shape, "material": material}


WORDS = {0: named("red", "disc"), 1: named("blue", "square"), 2: named("green", "disc", "rubber")}
WORDS[3] = named("pink", "triangle")
ENTER, HIT = Event("enter", 2, (0,)), Event("collision", 5, (0, 1))
SECOND_HIT, EXIT = Event("collision", 9, (1, 2)), Event("exit", 12, (1,))
LATER = Event("collision", 20, (2, 3))
WITHOUT = {0: [], 3: [HIT, SECOND_HIT], 1: [Event("exit", 8, (0,))]}
STORY = Story(WORDS, [ENTER, HIT, SECOND_HIT, EXIT], [LATER], WITHOUT)
