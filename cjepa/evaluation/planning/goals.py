"""Goals and sub-goals that a user gives: pictures of the right size, states that fit, time for all of them."""

import logging
from pathlib import Path

import numpy as np

from cjepa.data.store.episodes import Episodes
from cjepa.envs.base import ObjectEnv
from cjepa.errors import UserError
from cjepa.evaluation.planning.protocol import PlanningProtocol, checked_state
from cjepa.pictures import read_picture
from cjepa.planning.sub_goals import SubGoals
from cjepa.tokenizers.base import Tokenizer
from cjepa.tokenizers.encode import read_columns

_log = logging.getLogger(__name__)


def goal_pixels(path: Path, tokenizer: Tokenizer, env: ObjectEnv, option: str) -> np.ndarray:
    """The picture of a goal, uint8 ``(Y, X, 3)``, of the size of the environment's frames.

    Args:
        path: of the picture.
        tokenizer: that has to see it.
        env: whose frames it is compared with.
        option: of the command line, which named the picture.

    Raises:
        UserError: the file is no picture, it has another size, or the tokenizer looks at no pictures.
    """
    if "pixels" not in read_columns(tokenizer):
        raise UserError(
            f"{option}: this world model was trained on tokens of {type(tokenizer).__name__}, which looks at no "
            f"pictures; give {option.replace('image', 'state')}"
        )
    pixels_YXC, expected = read_picture(path), env.render_pixels().shape
    if pixels_YXC.shape != expected:
        (height, width), (rows, columns) = pixels_YXC.shape[:2], expected[:2]
        raise UserError(f"{path}: {width} x {height} px, but frames have {columns} x {rows} px; resize it")
    return pixels_YXC


def check_sub_goals(
    sub_goals: SubGoals, protocol: PlanningProtocol, file: Episodes, tokenizer: Tokenizer, env: ObjectEnv
) -> None:
    """Warn where sub-goals may leave no time for the goal.

    Raises:
        UserError: a state or a picture does not fit the environment or the tokenizer.
    """
    for state in sub_goals.states or ():
        checked_state(state, protocol, file, "--sub_goals.states")
    for image in sub_goals.images or ():
        goal_pixels(Path(image), tokenizer, env, "--sub_goals.images")
    plan_env_steps = (protocol.execute_blocks or protocol.horizon_blocks) * protocol.frame_stride
    each = -(-sub_goals.most_env_steps // plan_env_steps) * plan_env_steps  # they change when a plan is made
    most = len(sub_goals.states or sub_goals.images) * each
    if most >= protocol.budget_env_steps:
        _log.warning(
            "--sub_goals may take %d env steps of a budget of %d, which leaves nothing for the goal; give a larger "
            "--budget_env_steps, or a smaller --sub_goals.most_env_steps or --execute_blocks",
            most,
            protocol.budget_env_steps,
        )
