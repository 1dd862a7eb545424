import json
from types import SimpleNamespace

import numpy as np
import pytest

from cjepa.data.store.episode_file import EpisodeFile
from cjepa.data.store.episode_writer import EpisodeWriter
from cjepa.data.token_clips import TokenClips
from cjepa.envs.pusht.env import PushT
from cjepa.errors import UserError
from cjepa.evaluation.planning import testbed
from cjepa.tokenizers.oracle import OracleTokenizer
from cjepa.world_models.model import PredictorDynamics
from cjepa.world_models.predictors.entity_transformer import EntityTransformer
from tests.conftest import SLOTS, TOKEN_DIM, token_attributes

SMALL = {"action_dim": 10, "dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 32}


@pytest.fixture
def module(monkeypatch, tokens_path) -> SimpleNamespace:
    dynamics = PredictorDynamics(EntityTransformer(TOKEN_DIM, **SMALL)).eval()
    data = TokenClips(str(tokens_path))
    data.setup("fit")
    dynamics.fit_scales(data.normalisation_sample())
    monkeypatch.setattr(testbed, "tokenizer_of", lambda module, where, run: OracleTokenizer(2, PushT.attribute_names))
    return SimpleNamespace(dynamics=dynamics, device="cpu", run_folder="")


def opened(path) -> TokenClips:
    data = TokenClips(str(path))
    data.setup("test")
    return data


def changed(tmp_path, tokens_path, **attributes) -> TokenClips:
    """The same tokens with other attributes; None takes one away."""
    attributes = token_attributes(num_slots=SLOTS) | attributes
    attributes = {name: value for name, value in attributes.items() if value is not None}
    with EpisodeWriter(tmp_path / "changed.h5", "cjepa-tokens", attributes) as writer:
        for episode in EpisodeFile(tokens_path).episodes():
            writer.append(episode)
    return opened(tmp_path / "changed.h5")


def test_older_token_files_leave_the_environment_to_their_episodes(tokens_path, module):
    data = opened(tokens_path)
    assert "env_id" not in data.file.attributes
    bed = testbed.open_testbed(module, data, pairs=3, horizon_blocks=5)
    assert isinstance(bed.env, PushT) and isinstance(bed.make_env(), PushT) and bed.horizon_blocks == 5
    assert bed.blocks.frame_stride == 5 and bed.blocks.action_values == 10
    for pair in bed.pairs:
        assert pair.episode in data.splits["test"]
        np.testing.assert_array_equal(
            pair.goal_state, data.file.read("state", pair.start_row + 25, pair.start_row + 26)[0]
        )


@pytest.mark.parametrize("env_id", ["cjepa/PushT-v0", "cjepa.envs.pusht.env:cjepa/PushT-v0"])
def test_a_token_file_that_names_its_environment_needs_no_episodes(tmp_path, tokens_path, module, env_id):
    kwargs = json.dumps({"image_size": 96})
    data = changed(tmp_path, tokens_path, env_id=env_id, env_kwargs=kwargs, episodes_path="gone.h5")
    assert testbed.open_testbed(module, data, pairs=2, horizon_blocks=5).env.image_size == 96


@pytest.mark.parametrize(
    ("attributes", "horizon_blocks", "reason"),
    [
        ({}, 5, "does not name its environment"),
        ({"episodes_path": "gone.h5"}, 5, "gone.h5"),
        ({"env_id": "mine:Table-v0"}, 5, "mine:Table-v0.*not imported"),
        ({"env_id": "cjepa/Collide-v0"}, 5, "states of shape"),
        ({"env_id": "cjepa/PushT-v0"}, 9, "no held-out episode is longer than goal_env_steps = 45"),
    ],
)
def test_why_there_is_no_testbed(tmp_path, tokens_path, module, attributes, horizon_blocks, reason):
    data = changed(tmp_path, tokens_path, **attributes)
    with pytest.raises(UserError, match=reason):
        testbed.open_testbed(module, data, pairs=2, horizon_blocks=horizon_blocks)


def test_tokens_of_another_version_of_the_episodes(tmp_path, tokens_path, episodes, module):
    data = changed(tmp_path, tokens_path, episodes_path=str(episodes.path), episodes_fingerprint="0" * 16)
    with pytest.raises(UserError, match="another version"):
        testbed.open_testbed(module, data, pairs=2, horizon_blocks=5)


def test_a_model_of_other_actions(tokens_path, monkeypatch, module):
    module.dynamics = PredictorDynamics(EntityTransformer(TOKEN_DIM, **SMALL | {"action_dim": 4}))
    with pytest.raises(UserError, match="10 action values"):
        testbed.open_testbed(module, opened(tokens_path), pairs=2, horizon_blocks=5)


def test_a_model_of_proprioception_in_other_units(tokens_path, module):
    """Trained on shares of the table, where the environment has px."""
    for values in (module.dynamics.proprio_scale.mean, module.dynamics.proprio_scale.std):
        values /= 512
    with pytest.raises(UserError, match="the model was trained on proprio values in other units"):
        testbed.open_testbed(module, opened(tokens_path), pairs=2, horizon_blocks=5)
