"""Which scenes, frames and words a reader is given."""

import json

import pytest
import torch

from cjepa.errors import UserError
from cjepa.questions import question_data, scene_tokens
from cjepa.questions.question_data import QuestionTokens
from cjepa.questions.scene_tokens import Imagination, open_imagination
from cjepa.questions.vocabulary import Vocabulary, split
from cjepa.types import Predicted
from cjepa.world_models.dynamics import Dynamics
from cjepa.world_models.loading import LoadedWorldModel
from tests.questions.scenes import question_file, token_file

EPISODES = 40
SHOWN = {"removal_env_step": 2, "seen_env_steps": 7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    token_file(folder / "tokens.h5", EPISODES)
    question_file(folder / "questions.json", EPISODES, **SHOWN)
    return folder


def opened(folder, questions: str = "questions.json", **options) -> QuestionTokens:
    data = QuestionTokens(str(folder / "tokens.h5"), str(folder / questions), **{"frame_stride": 2} | options)
    data.setup("fit")
    return data


class Counting(Dynamics):
    """Adds the stride to the second value of every token, which is the env step, in every block."""

    token_dim, proprio_dim, action_dim, history_blocks = 3, 0, 0, 2

    def normalise(self, clip):
        return clip

    def denormalise(self, rollout):
        return rollout

    def observe(self, clip):
        assert (clip.tokens_BTSD[:, 1] - clip.tokens_BTSD[:, 0])[..., 1].eq(1).all() and clip.tokens_BTSD.shape[1] == 2
        return Predicted(clip.tokens_BTSD[:, -1], clip.proprio_BTP[:, -1])

    def step(self, state, actions_BA):
        return state._replace(tokens_BSD=state.tokens_BSD + torch.tensor([0.0, 1.0, 0.0]))

    def predicted(self, state):
        return state


@pytest.fixture
def counting(monkeypatch) -> None:
    """The world model, of blocks of one env step."""
    loaded = LoadedWorldModel(Counting(), None, "", {})
    monkeypatch.setattr(question_data, "open_imagination", lambda name, data: Imagination(loaded, 1, name))


def test_questions_are_split_as_their_scenes(folder):
    data = opened(folder)
    splits = {split: {question.episode for question in data.questions_of(split)} for split in ("train", "val", "test")}
    assert splits == {split: set(data.splits[split].tolist()) for split in splits}
    assert [len(found) for found in splits.values()] == [36, 2, 2] and len(set().union(*splits.values())) == EPISODES
    rows = data.training_clips()
    assert set(rows.starts // 10) == splits["train"]
    assert set(rows.__getitems__(list(range(len(rows)))).tokens_BFSD[:, 0, 0, 0].int().tolist()) == splits["train"]


def test_rows_are_questions_and_options(folder):
    data = opened(folder)
    (first, *_), rows = data.questions_of("val"), data.held_out_clips("val")
    batch = rows.__getitems__([0, 1, 2, 3, 4])
    assert len(rows) == 2 * 5 and batch.is_option_B.tolist() == [False, True, True, True, True]
    words = ["", *data.vocabulary.words]
    said = [" ".join(words[index] for index in row if index) for row in batch.question_BQ.tolist()]
    assert said == ["is the lamp lit", *["what is true now"] * 2, *["what will be true"] * 2]
    said = [" ".join(words[index] for index in row if index) for row in batch.option_BV.tolist()]
    assert said == ["", *["the lamp is lit", "the lamp is dark"] * 2]
    assert data.vocabulary.answers == ["no", "yes"]
    lit = int(first.answer == "yes")
    assert batch.answer_B.tolist() == [lit, lit, 1 - lit, lit, 1 - lit]


def test_the_shown_frames_end_with_the_last_shown_env_step(folder):
    """7 env steps are shown: three frames two env steps apart end with env step 6."""
    tokens = opened(folder).held_out_clips("val").__getitems__([0, 3]).tokens_BFSD
    assert tokens[:, :, 0, 1].tolist() == [[2, 4, 6], [2, 4, 6]]


def test_predictive_questions_have_the_frames_up_to_the_end_of_what_is_imagined(folder, counting):
    data = opened(folder, world_model="one", imagined_env_steps=4)
    tokens = data.held_out_clips("val").__getitems__([0, 1, 3, 4]).tokens_BFSD
    assert tokens[:, :, 0, 1].tolist() == [[2, 4, 6], [2, 4, 6], [6, 8, 10], [6, 8, 10]]
    assert tokens[:, :, 0, 0].unique().tolist() == [data.splits["val"][0]]


def test_a_model_with_actions_imagines_as_far_as_actions_are_known(folder, counting, monkeypatch):
    """Ten env steps, of which seven are shown: the actions of env steps 6 to 9 lead to env step 10."""
    monkeypatch.setattr(Counting, "action_dim", 1)
    data = opened(folder, frame_stride=1, world_model="one", imagined_env_steps=4)
    assert data.held_out_clips("val").__getitems__([3]).tokens_BFSD[0, :, 0, 1].tolist() == list(range(4, 11))
    data = opened(folder, frame_stride=1, world_model="one", imagined_env_steps=5)
    with pytest.raises(UserError, match="has actions of 10 env steps, but one needs 11"):
        data.held_out_clips("val")


def test_validation_is_spread_over_the_questions(folder):
    loader = opened(folder, val_rows=4, batch_size=2).val_dataloader()
    answers = torch.cat([batch.answer_B for batch in loader])
    assert torch.equal(answers, opened(folder).held_out_clips("val").__getitems__([0, 3, 6, 9]).answer_B)


def test_questions_of_clevrer(tmp_path):
    """Its own file, and that of `cjepa convert`: every fifth of 128 frames up to the last, 25 of them."""
    token_file(tmp_path / "tokens.h5", 20, env_steps=128, slots=3)
    own = question_file(tmp_path / "train.json", 20)
    scenes = json.loads(own.read_text())
    lines = [json.dumps({"episode": scene["scene_index"], "questions": scene["questions"]}) for scene in scenes]
    (tmp_path / "clevrer.questions.jsonl").write_text("\n".join(lines))
    for name in ("train.json", "clevrer.questions.jsonl"):
        batch = opened(tmp_path, name, frame_stride=5).training_clips().__getitems__([0, 4])
        assert batch.tokens_BFSD.shape == (2, 25, 3, 3)
        assert batch.tokens_BFSD[0, :, 0, 1].tolist() == list(range(7, 128, 5))


def test_words():
    assert split("Is the Red object removed, or not?") == ["is", "the", "red", "object", "removed", "or", "not"]
    vocabulary = Vocabulary(["a", "lamp"], ["no"])
    assert vocabulary.words_of("A green lamp?") == [1, 2]


def test_options_that_do_not_fit(folder):
    with pytest.raises(ValueError, match="imagined_env_steps is 4; expected 2 .* with a world_model, 0 without"):
        opened(folder, imagined_env_steps=4)
    with pytest.raises(ValueError, match="imagined_env_steps is 1; expected 2"):
        opened(folder, world_model="one", imagined_env_steps=1)
    with pytest.raises(UserError, match="frame_stride is 8, but only 7 env steps are shown"):
        opened(folder, frame_stride=8)


def test_more_than_a_world_model_sees(folder, counting, tmp_path):
    question_file(tmp_path / "early.json", EPISODES, removal_env_step=0, seen_env_steps=2)
    data = QuestionTokens(str(folder / "tokens.h5"), str(tmp_path / "early.json"), frame_stride=1)
    data.setup("fit")
    data.imagination = question_data.open_imagination("one", data)._replace(frame_stride=2)
    data.frames = data.frames._replace(imagined=2)
    with pytest.raises(UserError, match="frame_stride is 1, but one predicts blocks of 2 env steps"):
        data.held_out_clips("val")
    data.frames = data.frames._replace(stride=2)
    with pytest.raises(UserError, match="one sees 2 blocks of 2 env steps, more than what is shown"):
        data.held_out_clips("val")


def test_a_world_model_that_learned_from_held_out_scenes(folder, monkeypatch):
    data = opened(folder)
    lineage = data.lineage._asdict() | {"split_seed": 1}
    loaded = LoadedWorldModel(Counting(), None, data.tokenizer_fingerprint, lineage)
    monkeypatch.setattr(scene_tokens, "find_checkpoint", lambda name: name)
    monkeypatch.setattr(scene_tokens, "load_world_model", lambda checkpoint: loaded)
    monkeypatch.setattr(scene_tokens, "data_options", lambda checkpoint: {"frame_stride": 1})
    with pytest.raises(UserError, match="which is held out here; set data.init_args.split_seed to 1"):
        open_imagination("run", data)
    same = loaded._replace(lineage=data.lineage._asdict())
    monkeypatch.setattr(scene_tokens, "load_world_model", lambda checkpoint: same)
    assert open_imagination("run", data).frame_stride == 1
    other = loaded._replace(tokenizer_fingerprint="other")
    monkeypatch.setattr(scene_tokens, "load_world_model", lambda checkpoint: other)
    with pytest.raises(UserError, match="its tokenizer is other, but the tokens of"):
        open_imagination("run", data)
