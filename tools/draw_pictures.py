"""Draw pictures of the README into docs/images/: what the zoo's models imagine, and who they think influences whom.

    python tools/draw_pictures.py COLLIDE_EPISODES PUSHT_EPISODES

The episodes are those of `experiments/studies/world_models.yaml`; scenes are of test episodes, which the zoo's models
were not trained on. The two films are chosen by eye from the busiest scenes: `--candidates FOLDER` writes those.
"""

import argparse
import re
from pathlib import Path

import numpy as np

from cjepa.evaluation.interventions.influence_graphs import Pairs, score_pairs
from cjepa.evaluation.notebook import SceneLab
from cjepa.files import replacing
from cjepa.progress import NoProgress
from cjepa.reporting.intervene_videos import scene_films
from cjepa.reporting.scene_graphs import busiest_scenes, scene_graphs
from cjepa.reporting.videos import contact_sheet, gif, side_by_side, with_footer, write_png

DOCS = Path(__file__).parents[1] / "docs"
IMAGES = DOCS / "images"
SCENES = 30
FPS = 5
HOLD_FRAMES = 5
SCALE = 3
GAP = 24
"""Pixels between the environments."""
TITLES = {"collide": "Collide", "pusht": "Push-T"}
ESTIMATE = "remove_moved"


def film(lab: SceneLab, scene: int, title: str) -> np.ndarray:
    """Panels side by side over a line of text, uint8 (T, Y, X, 3)."""
    panels = scene_films(lab.lab, lab.place, scene)
    video = side_by_side(list(panels.values()), [shown(caption) for caption in panels], SCALE)
    seconds = lab.lab.block_seconds
    return with_footer(video, [f"{title}, {block * seconds:.1f} s ahead" for block in range(len(video))])


def shown(caption: str) -> str:
    """The caption of a panel in the words of the README."""
    return re.sub(r"body \d+", "one", caption).replace("true", "real").replace("predicted", "imagined")


def animation(labs: dict[str, SceneLab], scenes: dict[str, int]) -> bytes:
    """Both environments side by side as a GIF; the last frame is held."""
    parts = [film(lab, scenes[name], TITLES[name]) for name, lab in labs.items()]
    gap_TYX3 = np.full((*parts[0].shape[:2], GAP, 3), 255, np.uint8)
    video = np.concatenate([parts[0], gap_TYX3, parts[1]], axis=2)
    return gif(np.concatenate([video, video[-1:].repeat(HOLD_FRAMES, axis=0)]), FPS)


def scored(lab: SceneLab) -> Pairs:
    """How much the model thinks that bodies influence each other, and whether they do."""
    return score_pairs(lab.lab, lab.lab.test, ["remove"], lab.place, 0, NoProgress())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collide", type=Path)
    parser.add_argument("pusht", type=Path)
    parser.add_argument("--collide_scene", type=int, default=12)
    parser.add_argument("--pusht_scene", type=int, default=10)
    parser.add_argument("--candidates", type=Path)
    options = parser.parse_args()
    labs = {"collide": SceneLab("zoo:collide-best", options.collide, SCENES)}
    labs["pusht"] = SceneLab("zoo:pusht-best", options.pusht, SCENES)
    pairs = {name: scored(lab) for name, lab in labs.items()}
    if options.candidates is not None:
        for name, lab in labs.items():
            for scene in busiest_scenes(pairs[name], len(lab))[:12]:
                video = film(lab, int(scene), TITLES[name])
                write_png(options.candidates / f"{name}{scene:03d}.png", contact_sheet(video[[0, 3, 5, 7, 10]], 1))
        return
    with replacing(IMAGES / "imagined.gif") as partial:
        partial.write_bytes(animation(labs, {"collide": options.collide_scene, "pusht": options.pusht_scene}))
    chosen = busiest_scenes(pairs["collide"], SCENES)[:4]
    graphs = scene_graphs(labs["collide"].lab, pairs["collide"], [ESTIMATE], chosen)
    graphs.savefig(IMAGES / "influence.png", dpi=140, facecolor="white")


if __name__ == "__main__":
    main()
