"""A sweep: one experiment over values of its options and over seeds, written as a study."""

import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cjepa.errors import UserError
from cjepa.shell import as_typed
from cjepa.studies.definition import MAX_STAGES

Values = dict[str, Any]
"""Options of one cell by their full names."""
_OUT = {"fit": "run_dir", "plan": "out"}
_SEED = {"fit": "seed_everything", "plan": "seed"}
_RANGE = {"low", "high", "log", "steps"}
_WORD = re.compile(r"\w[\w.-]*", re.ASCII)
_LONGEST_NAME = 80
_DIGITS = 4
"""Of a number that is drawn: names of folders should be readable."""
_DRAWS_A_CELL = 100


class Experiment(NamedTuple):
    """What every cell of a sweep shares."""

    configs: list[Path]
    options: Values
    """Of the command line, beside the configs."""
    run: str | None
    """The world model to plan with; None: the experiment is a training."""

    @property
    def command(self) -> str:
        """``fit`` or ``plan``."""
        return "fit" if self.run is None else "plan"


def cells_of(over: Mapping[str, Any], samples: int | None, seed: int) -> list[Values]:
    """The combinations of values to try: all of them, or some drawn at random.

    Of a longer search with the same seed, the first cells are those of a shorter one.

    Args:
        over: option -> list of values, or range ``{low, high, log, steps}``.
        samples: how many to draw; None: the grid, for which a range needs ``steps``.
        seed: of the draws.

    Raises:
        UserError: the option and what is wrong with its values are named.
    """
    if not over:
        raise UserError("--over: no option to vary; for example --over.model.init_args.lr '[1e-3, 1e-2]'")
    for key, values in over.items():
        _check(key, values)
    if samples is None:
        grids = [values if isinstance(values, list) else _steps(key, values) for key, values in over.items()]
        if math.prod(map(len, grids)) > MAX_STAGES:
            raise UserError(f"--over: more than {MAX_STAGES:,} combinations; draw some of them with --samples")
        return [dict(zip(over, values, strict=True)) for values in itertools.product(*grids)]
    if samples > MAX_STAGES:
        raise UserError(f"--samples {samples}: at most {MAX_STAGES:,}")
    return _drawn(over, samples, seed)


def sweep_study(
    name: str, experiment: Experiment, cells: Sequence[Values], seeds: Sequence[int], home: Path
) -> dict[str, Any]:
    """The study of a sweep, as its YAML has it: a stage per cell and seed.

    Args:
        name: of the sweep.
        experiment: that is repeated.
        cells: combinations of values.
        seeds: of every cell.
        home: folder of the study and of its YAML.

    Raises:
        UserError: the name is no plain word; an option is given twice, set by the sweep itself, or names test episodes.
    """
    if not _WORD.fullmatch(name):
        raise UserError(f"--name {name}: expected a plain word of letters, digits, - _ .")
    _check_options(experiment, cells, seeds)
    configs = [os.path.relpath(config.resolve(), home.resolve()) for config in experiment.configs]
    stages = {}
    for cell, seed in itertools.product(cells, seeds):
        stage = stage_name(cell, seed)
        own = {_SEED[experiment.command]: seed, _OUT[experiment.command]: "${self}"}
        if experiment.run is not None:
            own |= {"split": "val", "model_name": stage}
        stages[stage] = {
            "command": experiment.command,
            "positional": [] if experiment.run is None else [experiment.run],
            "configs": [*configs],
            "args": {**experiment.options, **cell, **own},
        }
    keys = ", ".join(cells[0])
    return {"name": name, "description": f"{len(cells)} cells over {keys}; seeds {list(seeds)}.", "stages": stages}


def stage_name(cell: Values, seed: int) -> str:
    """The folder of a cell with one seed: its values, or a digest of them where they are no plain short words."""
    last = [key.rpartition(".")[2] for key in cell]
    shown = "-".join(f"{word}-{value}" for word, value in zip(last, cell.values(), strict=True))
    if not _WORD.fullmatch(shown) or len(shown) > _LONGEST_NAME or len(set(last)) < len(last):
        shown = f"cell-{hashlib.sha256(json.dumps(cell, sort_keys=True).encode()).hexdigest()[:8]}"
    return f"{shown}-seed-{seed}"


def command_of(experiment: Experiment, cell: Values) -> str:
    """The command line that repeats a cell outside of the sweep; of planning, with test pairs."""
    words = ["cjepa", experiment.command, *([] if experiment.run is None else [experiment.run])]
    for config in experiment.configs:
        words += ["-c", config]
    for key, value in {**experiment.options, **cell}.items():
        words += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
    return as_typed(*words)


def _check(key: str, values: Any) -> None:
    where = f"--over.{key}"
    if isinstance(values, list):
        if not values or any(values[:place].count(value) for place, value in enumerate(values)):
            raise UserError(f"{where}: {values}, expected a list of different values")
        return
    if not isinstance(values, dict) or not {"low", "high"} <= set(values) <= _RANGE:
        example = "[1e-3, 1e-2] or {low: 1e-4, high: 1e-2, log: true}"
        raise UserError(f"{where}: {values}, expected a list of values or a range, for example {example}")
    low, high = values["low"], values["high"]
    if not all(isinstance(end, int | float) and math.isfinite(end) for end in (low, high)) or not low < high:
        raise UserError(f"{where}: low is {low} and high is {high}, expected numbers, low below high")
    if not isinstance(values.get("log", False), bool):
        raise UserError(f"{where}: log is {values['log']}, expected true or false")
    if values.get("log") and low <= 0:
        raise UserError(f"{where}: low is {low}, expected a number above 0 for a logarithmic range")


def _steps(key: str, values: Mapping[str, Any]) -> list[float]:
    """A grid over a range."""
    steps = values.get("steps")
    if type(steps) is not int or steps < 2:
        raise UserError(f"--over.{key}: steps is {steps}, expected 2 or more for a grid; or draw with --samples")
    return list(dict.fromkeys(_at(values, share) for share in np.linspace(0, 1, steps).tolist()))


def _at(values: Mapping[str, Any], share: float) -> float:
    """The number at a share of a range; whole where both ends are."""
    low, high = values["low"], values["high"]
    number = low * (high / low) ** share if values.get("log") else low + (high - low) * share
    return round(number) if type(low) is type(high) is int else float(f"{number:.{_DIGITS}g}")


def _drawn(over: Mapping[str, Any], samples: int, seed: int) -> list[Values]:
    generator = np.random.default_rng(seed)
    found: dict[str, Values] = {}
    for cell in itertools.islice(_draws(over, generator), _DRAWS_A_CELL * samples):
        found.setdefault(json.dumps(cell, sort_keys=True), cell)
        if len(found) == samples:
            return list(found.values())
    raise UserError(f"--samples {samples}: --over has only {len(found)} different combinations; ask for fewer")


def _draws(over: Mapping[str, Any], generator: np.random.Generator) -> Iterator[Values]:
    while True:
        yield {
            key: values[int(generator.integers(len(values)))]
            if isinstance(values, list)
            else _at(values, float(generator.random()))
            for key, values in over.items()
        }


def _check_options(experiment: Experiment, cells: Sequence[Values], seeds: Sequence[int]) -> None:
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds: {list(seeds)}, expected different numbers, for example 0,1,2")
    command = experiment.command
    for key in {**experiment.options, **cells[0]}:
        if key in experiment.options and key in cells[0]:
            raise UserError(f"--options.{key}: --over varies it; leave out one of the two")
        if key == _SEED[command]:
            raise UserError(f"{key}: a sweep sets it; give --seeds instead")
        if key in (_OUT[command], "model_name"):
            raise UserError(f"{key}: a sweep sets it for each cell; choose the place with --root and --name")
        if key in ("split", "published_protocol") and command == "plan":
            raise UserError(f"{key}: a sweep plans validation pairs, by which the best cell is chosen; leave it out")
