"""Questions of all four types about one scene; what is true comes from running the programs on the true story.

Options are kept in pairs: one correct, one wrong, of the same kind (see :func:`_paired`). So half of all options of a
kind are correct in every question, and no text tells which half.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np

from cjepa.questions.executor import Unanswerable, answer, is_correct
from cjepa.questions.phrases import FILTERS, Phrases, Program
from cjepa.questions.stories import ASKED_WORDS, Event, Story

_PAIRS = 2
"""Of options, at most, in one question."""
_Candidate = tuple[Any, str, Program]
"""The kind of an option, its text and its program."""


class Draft(NamedTuple):
    """A question without its number."""

    question: dict[str, Any]
    template: str
    """Descriptive questions of one template have the same answers to choose from; empty for the other types."""


def descriptive(story: Story, rng: np.random.Generator) -> Iterator[Draft]:
    """Questions about what is shown, each with one word as its answer."""
    phrases = Phrases(story)
    for template, text, program, subtype in [
        *_counts(story),
        *_existences(story, phrases, rng),
        *_queries(story, phrases),
    ]:
        try:
            found = answer(program, story)
        except Unanswerable:
            continue
        asked = {"question": text, "question_type": "descriptive", "question_subtype": subtype, "program": program}
        yield Draft(asked | {"answer": found}, template)


def explanatory(story: Story, rng: np.random.Generator) -> Iterator[Draft]:
    """What is responsible for a collision: objects and events among its causes."""
    phrases = Phrases(story)
    once = _happened_once(story.seen, phrases)
    for event in once:
        if event.kind != "collision":
            continue
        name, finds = phrases.noun(event.what)
        question = ["events", *finds, "unique", "filter_ancestor"]
        candidates: list[_Candidate] = []
        for body in story.words:
            if phrases.can_name([body]) and body not in event.bodies:
                said, program = phrases.object(body)
                candidates.append(("presence", f"the presence of {said}", program))
        for other in once:
            if other is not event:
                said, program = phrases.noun(other.what)
                shared = len(set(other.bodies) & set(event.bodies))
                candidates.append(((other.kind, shared), said, ["events", *program]))
        text = f"Which of the following is responsible for {name}?"
        yield from _multiple_choice(text, "explanatory", question, candidates, story, rng)


def predictive(story: Story, bodies: Sequence[int], rng: np.random.Generator) -> Iterator[Draft]:
    """What happens after what is shown.

    Args:
        story: of the scene.
        bodies: on the table at the end of what is shown.
        rng: for the order of options.
    """
    phrases = Phrases(story)
    candidates = [
        (what[0], said, ["all_events", *program])
        for what in _possible(bodies, phrases)
        for said, program in [phrases.event(what)]
    ]
    yield from _multiple_choice("What will happen next?", "predictive", ["unseen_events"], candidates, story, rng)


def counterfactual(story: Story, removal_env_step: int, rng: np.random.Generator) -> Iterator[Draft]:
    """What happens without an object; options of one kind either all happened with it, or none did.

    Args:
        story: of the scene.
        removal_env_step: from which the object is absent.
        rng: for the order of options.
    """
    phrases = Phrases(story)
    happened = {event.what for event in story.seen if event.env_step > removal_env_step}
    for body in story.without:
        if not phrases.can_name([body]):
            continue
        name, finds = phrases.object(body)
        others = [other for other in story.without if other != body]
        candidates = [
            ((what[0], what in happened), said, ["all_events", *program])
            for what in _possible(others, phrases)
            for said, program in [phrases.event(what)]
        ]
        question = [*finds, "get_counterfact"]
        text = f"If {name} is removed, what will happen?"
        yield from _multiple_choice(text, "counterfactual", question, candidates, story, rng)


def _multiple_choice(
    text: str,
    question_type: str,
    program: Program,
    candidates: Sequence[_Candidate],
    story: Story,
    rng: np.random.Generator,
) -> Iterator[Draft]:
    """The question, unless no two options of a kind differ in whether they are correct."""
    chosen = _paired(candidates, [is_correct(choice, program, story) for _, _, choice in candidates], rng)
    if chosen:
        choices = [
            {"choice_id": number, "choice": said, "program": choice, "answer": "correct" if correct else "wrong"}
            for number, ((_, said, choice), correct) in enumerate(chosen)
        ]
        asked = {"question": text, "question_type": question_type, "question_subtype": question_type}
        yield Draft(asked | {"program": program, "choices": choices}, "")


def _paired(
    candidates: Sequence[_Candidate], correct: Sequence[bool], rng: np.random.Generator
) -> list[tuple[_Candidate, bool]]:
    """Up to ``_PAIRS`` pairs of a correct and a wrong option of the same kind, in random order."""
    by_kind: dict[Any, dict[bool, list[_Candidate]]] = {}
    for index in rng.permutation(len(candidates)):
        of_kind = by_kind.setdefault(candidates[index][0], {True: [], False: []})
        of_kind[correct[index]].append(candidates[index])
    pairs = [pair for of_kind in by_kind.values() for pair in zip(of_kind[True], of_kind[False], strict=False)]
    kept = [pairs[index] for index in rng.permutation(len(pairs))[:_PAIRS]]
    options = [(option, is_first) for pair in kept for option, is_first in zip(pair, (True, False), strict=True)]
    return [options[index] for index in rng.permutation(len(options))]


def _possible(bodies: Sequence[int], phrases: Phrases) -> list[tuple[str, tuple[int, ...]]]:
    """Collisions and exits that nameable objects may have."""
    named = sorted(body for body in bodies if phrases.can_name([body]))
    return [*(("collision", pair) for pair in combinations(named, 2)), *(("exit", (body,)) for body in named)]


def _happened_once(events: Sequence[Event], phrases: Phrases) -> list[Event]:
    """Events that a description points at without doubt."""
    every = [event.what for event in events]
    return [event for event in events if every.count(event.what) == 1 and phrases.can_name(event.bodies)]


def _counts(story: Story) -> Iterator[tuple[str, str, Program, str]]:
    events = {"collision": "collisions are there", "enter": "objects enter the scene", "exit": "objects exit the scene"}
    for kind, said in events.items():
        text = f"How many {said}?"
        yield text, text, ["events", "objects", FILTERS[kind], "count"], "count"
    for name in ("shape", "material"):
        for word in sorted({words[name] for words in story.words.values()}):
            text = f"How many {word if name == 'shape' else f'{word} object'}s are there?"
            yield text, text, ["objects", word, f"filter_{name}", "count"], "count"


def _existences(story: Story, phrases: Phrases, rng: np.random.Generator) -> Iterator[tuple[str, str, Program, str]]:
    named = [body for body in story.words if phrases.can_name([body])]
    for pair in combinations(named, 2):
        one, other = (phrases.object(int(body)) for body in rng.permutation(pair))
        program = ["events", *one[1], "filter_collision", *other[1], "filter_collision", "exist"]
        yield "does A collide with B", f"Does {one[0]} collide with {other[0]}?", program, "exist"
    for body, kind in product(named, ("enter", "exit")):
        name, finds = phrases.object(body)
        yield f"does A {kind}", f"Does {name} {kind} the scene?", ["events", *finds, FILTERS[kind], "exist"], "exist"


def _queries(story: Story, phrases: Phrases) -> Iterator[tuple[str, str, Program, str]]:
    """A word of the first or last object of an event; where two events share that moment, nothing is asked."""
    for word, kind, order in product(ASKED_WORDS, ("enter", "exit"), ("first", "last")):
        events = [event for event in story.seen if event.kind == kind]
        if _has_end(events, order):
            text = f"What is the {word} of the {order} object to {kind} the scene?"
            program = ["events", "objects", FILTERS[kind], order, "filter_order", "get_object", f"query_{word}"]
            yield text, text, program, f"query_{word}"
    named = [body for body in story.words if phrases.can_name([body])]
    for word, body, order in product(ASKED_WORDS, named, ("first", "last")):
        events = [event for event in story.seen if event.kind == "collision" and body in event.bodies]
        if not phrases.needs(body, word) and _has_end(events, order):
            name, finds = phrases.object(body)
            partner = ["events", *finds, "filter_collision", order, "filter_order", *finds, "get_col_partner"]
            text = f"What is the {word} of the {order} object to collide with {name}?"
            yield f"{word} {order} partner", text, [*partner, f"query_{word}"], f"query_{word}"


def _has_end(events: Sequence[Event], order: str) -> bool:
    """Whether a single event is the first, or the last."""
    end = 0 if order == "first" else -1
    return bool(events) and [event.env_step for event in events].count(events[end].env_step) == 1
