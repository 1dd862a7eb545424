"""Copy a finished study into docs/results/ and write its tables and picture into the README.

python docs/update_results.py runs/studies/quickstart
"""

import argparse
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from cjepa.reporting.records import read_json, write_json
from cjepa.reporting.tables import results_table, seconds_text
from cjepa.reporting.video import write_png

DOCS = Path(__file__).parent
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def markdown(table: list[list[str]]) -> str:
    """A table, header first, as Markdown."""
    lines = [table[0], ["---"] * len(table[0]), *table[1:]]
    return "\n".join("| " + " | ".join(cell or "–" for cell in row) + " |" for row in lines)


def readme_block(result: dict) -> str:
    """What stands between the markers of the README, from a file of docs/results/."""
    stages = [["stage", "command", "time"]]
    for stage in result["stages"]:
        stages.append([stage["name"], f"`cjepa {stage['command']}`", seconds_text(stage["seconds"])])
    total = sum(stage["seconds"] for stage in result["stages"])
    memory = max(stage["peak_memory_mb"] for stage in result["stages"])
    slots = {row["metric"]: row for row in result["rows"] if row["model"] == "slots"}
    quality = ", ".join(f"{name} {slots[name]['value']:.3f}" for name in ("fg_ari", "mean_iou", "slot_consistency"))
    return "\n\n".join(
        [
            markdown(results_table(result["rows"])),
            f"Slots against the simulator's masks, on held-out episodes: {quality}.",
            f"{seconds_text(total)} in all on {result['machine']}, at most {memory:,} MB of memory:",
            markdown(stages),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--machine", default="2 CPU cores, no GPU")
    args = parser.parse_args()
    study = read_json(args.study / "study.json")
    stages = [{k: v for k, v in stage.items() if k not in ("key", "cached", "folder")} for stage in study["stages"]]
    result = {
        "command": f"cjepa study experiments/studies/{study['name']}.yaml",
        "machine": args.machine,
        "stages": stages,
        "rows": read_json(args.study / "results.json"),
    }
    write_json(DOCS / "results" / f"{study['name']}.json", result)
    readme = DOCS.parent / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n{readme_block(result)}\n{END}{rest.split(END)[1]}")
    write_png(DOCS / "images" / f"{study['name']}.png", picture(args.study / "plan-cjepa-1" / "media"))


def picture(media: Path) -> np.ndarray:
    """Two trials as film strips, successes first: frames of the planning videos, spread over time."""
    videos = sorted(media.glob("*-success.mp4")) + sorted(media.glob("*-failure.mp4"))
    strips = []
    for path in videos[:2]:
        frames = iio.imread(path, plugin="FFMPEG")
        strips.append(np.concatenate([frames[i] for i in np.linspace(0, len(frames) - 1, 3).astype(int)], axis=1))
    return np.concatenate(strips, axis=0)


if __name__ == "__main__":
    main()
