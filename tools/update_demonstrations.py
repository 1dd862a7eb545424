"""Copy the study of demonstrations into docs/results/ and write the tables of docs/results/demonstrations.md.

    python tools/update_demonstrations.py runs/studies/demonstrations

100 episodes are recorded again to count the goals that were reached, which takes two minutes.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from measure_push_t import WINDOW_ENV_STEPS, collect, motion, shares
from update_results import markdown, write_block

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.envs.pusht.drawing import TABLE_PX
from cjepa.evaluation.intervals import wilson
from cjepa.files import read_json, write_json
from cjepa.planning.demonstrators.simulator_mpc import SimulatorMPC, block_middle
from cjepa.reporting.tables import seconds_text

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "results" / "demonstrations.md"
DATA = ("aimless", "purposeful")
MODEL = "cjepa-1"
REPLAYED_EPISODES = 100
NEAR_PX = 160.0
BINS = 8  # of each dimension
FORMATS = {"share": ".1%", "1/s": ",.1f"}


def even_share(values: np.ndarray, ranges: list[tuple[float, float]]) -> float:
    """How evenly rows fill a grid: exp(entropy) over the number of cells, 1 when all are visited alike.

    Args:
        values: (rows, dimensions); rows outside the ranges are left out.
        ranges: lowest and highest value of each dimension.
    """
    counts, _ = np.histogramdd(values, BINS, ranges)
    share = counts[counts > 0] / counts.sum()
    return float(np.exp(-(share * np.log(share)).sum()) / counts.size)


def seen_from_block(states: np.ndarray) -> np.ndarray:
    """The agent's position in the frame of the block's middle, px; states (rows, 7) -> (rows, 2)."""
    offset = states[:, :2] - block_middle(states)
    cos, sin = np.cos(states[:, 4]), np.sin(states[:, 4])
    return np.stack([cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0]], axis=1)


def measured(file: EpisodeFile) -> list[dict]:
    """What is in an episode file: dicts of what, value and unit."""
    episodes = list(file.episodes(("state", "contacts")))
    states = np.stack([episode["state"] for episode in episodes])
    path = np.linalg.norm(np.diff(states[..., 2:4], axis=1), axis=-1).sum(axis=1)
    apart = np.linalg.norm(states[:, -1, 2:4] - states[:, 0, 2:4], axis=-1)
    facts = [("episodes", len(file), ""), ("env steps an episode", states.shape[1], "")]
    facts += [(line.what, line.values.mean(), "share") for line in shares(episodes)]
    facts += percentiles("path of the block in an episode", path, "px")
    facts += percentiles("block's displacement in an episode", apart, "px")
    for line in motion(episodes):
        facts += percentiles(f"{line.what} in {WINDOW_ENV_STEPS} env steps", line.values, line.unit)
    flat = states.reshape(-1, states.shape[-1])
    poses = even_share(flat[:, 2:5], [(0, TABLE_PX), (0, TABLE_PX), (0, 2 * np.pi)])
    places = even_share(seen_from_block(flat), [(-NEAR_PX, NEAR_PX)] * 2)
    facts += [("evenness of the block's poses", poses, "share"), ("evenness of the agent's places", places, "share")]
    return [{"what": what, "value": float(value), "unit": unit} for what, value, unit in facts]


def recording(study: Path, name: str, file: EpisodeFile) -> dict:
    """How fast `cjepa collect` was on all cores, its start included."""
    seconds = read_json(study / f"{name}-episodes" / "stage.json")["seconds"]
    return {"what": "episodes recorded per second", "value": len(file) / seconds, "unit": "1/s"}


def percentiles(what: str, values: np.ndarray, unit: str) -> list[tuple[str, float, str]]:
    """Median and 90 % of values, as facts."""
    median, high = np.percentile(values, [50, 90])
    return [(f"{what}, median", median, unit), (f"{what}, 90 %", high, unit)]


def replayed(file: EpisodeFile) -> dict:
    """Goals of the first episodes of a demonstrator's file, recorded once more.

    Raises:
        RuntimeError: an episode is not what the file says, so that its goals are not those of the file.
    """
    policy = SimulatorMPC(**json.loads(file.attributes["policy_kwargs"]))
    started = time.process_time()
    episodes, goals = collect(policy, REPLAYED_EPISODES, int(file.lengths[0]), file.attributes["seed"])
    seconds = (time.process_time() - started) / REPLAYED_EPISODES
    for index, episode in enumerate(episodes):
        if not np.array_equal(episode["action"], file.episode(index, ("action",))["action"]):
            raise RuntimeError(f"{file.path}: episode {index} was recorded by another version of this policy")
    return {"reached": wilson(sum(goals), len(goals))._asdict(), "cpu_seconds_per_episode": seconds}


def page_block(result: dict) -> str:
    """What stands between the markers of docs/results/demonstrations.md."""
    goals = result["goals"]["reached"]
    reached = f"{goals['value']:.0%} [{goals['low']:.0%}, {goals['high']:.0%}] of {goals['n']}"
    data = [["", *DATA]]
    for facts in zip(*(result["data"][name] for name in DATA), strict=True):
        unit = facts[0]["unit"]
        heading = facts[0]["what"] + (f", {unit}" if unit not in ("", "share", "1/s") else "")
        data.append([heading, *(f"{fact['value']:{FORMATS.get(unit, ',.0f')}}" for fact in facts)])
    data.append(["goals reached, of those that ended", "", reached])
    data.append(["CPU time an episode", "", seconds_text(result["goals"]["cpu_seconds_per_episode"])])

    rates = {(row["model"], row["run"]): row for row in result["rows"] if row["metric"] == "success"}
    success = [["model", "trained on", *(f"{name} pairs" for name in DATA)]]
    for name in DATA:
        runs = [f"{name}-{MODEL}-on-{pairs}" for pairs in DATA]
        success.append([MODEL, name, *(rate_text(rates[run, run]) for run in runs)])
    for model in ("random", "simulator-cem"):
        success.append([model, "", *(rate_text(rates[model, f"baselines-on-{pairs}"]) for pairs in DATA)])
    trials = sorted({row["n"] for row in rates.values()})
    assert len(trials) == 1, trials
    note = f"Success in % with its 95 % interval, of {trials[0]} pairs each:"
    return "\n\n".join([markdown(data), note, markdown(success)])


def rate_text(row: dict) -> str:
    """``29 [21, 39]``."""
    return f"{100 * row['value']:.0f} [{100 * row['low']:.0f}, {100 * row['high']:.0f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    study = parser.parse_args().study
    files = {name: EpisodeFile(study / f"{name}-episodes" / "episodes.h5") for name in DATA}
    result = {
        "command": f"cjepa study experiments/studies/{study.name}.yaml",
        "data": {name: measured(file) + [recording(study, name, file)] for name, file in files.items()},
        "goals": replayed(files["purposeful"]),
        "rows": read_json(study / "results.json"),
    }
    write_json(DOCS / "results" / f"{study.name}.json", result)
    write_block(PAGE, study.name, page_block(result))


if __name__ == "__main__":
    main()
