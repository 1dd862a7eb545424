"""ALOE from training to answers: `cjepa fit` and `cjepa answer`."""

import json
import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from cjepa.cli import main
from cjepa.errors import UserError
from cjepa.evaluation.interventions.laboratory import SceneProtocol
from cjepa.progress import NoProgress
from cjepa.questions import aloe_card
from cjepa.questions.aloe import QuestionBatch
from cjepa.questions.aloe_card import answer_with_aloe
from cjepa.questions.aloe_training import AloeTraining, load_reader, shuffled
from cjepa.questions.files import read_questions
from cjepa.questions.question_data import QuestionTokens
from tests.conftest import configs, fit, tokenize
from tests.questions.scenes import DIM, SLOTS, is_lit, question_file, token_file
from tests.sharing import once

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
READER = "--model.init_args.reader.init_args."
SMALL = {"dim": 16, "depth": 2, "num_heads": 2, "mlp_dim": 16, "word_dim": 8, "joined_frames": 3}
EPISODES = 120  # 6 of them for the test
LEARNED_STEPS = 100


def sizes(**more) -> list[str]:
    return [f"{READER}{name}={value}" for name, value in (SMALL | more).items()]


class Fixed(torch.nn.Module):
    """Two answers, the second e times as likely; an option is taken for correct with a probability of 1 / (1 + e)."""

    token_dim = 1

    def forward(self, tokens_BFSD, question_BQ, option_BV):
        return torch.tensor([[0.0, 1.0]]).expand(len(tokens_BFSD), 2), -torch.ones(len(tokens_BFSD))


def test_losses_by_hand():
    """Rows: answer 1, an answer that is unknown, a correct option, two wrong ones."""
    none = torch.zeros(5, 1, dtype=torch.long)
    batch = QuestionBatch(torch.zeros(5, 1, 1, 1), none, none, torch.tensor([1, -1, 1, 0, 0]), torch.arange(5) > 1)
    module = AloeTraining(Fixed())
    terms = module.loss_terms(batch, torch.Generator())
    assert terms["answer"].item() == pytest.approx(math.log(1 + math.exp(-1)))
    wrong = math.log(1 + math.exp(-1))
    assert terms["option"].item() == pytest.approx((wrong + 1 + 2 * wrong) / 3)
    assert module.taken(batch).tolist() == [1, 1, 0, 0, 0]
    only_options = QuestionBatch(*(values[2:] for values in batch))
    assert module.loss_terms(only_options, torch.Generator())["answer"] == 0


def test_slots_are_shuffled_alike_in_all_frames():
    tokens = torch.arange(4.0).expand(8, 3, 4)[..., None]
    found = shuffled(tokens, torch.Generator().manual_seed(0))[..., 0]
    assert bool((found == found[:, :1]).all()) and bool((found.sort(dim=-1).values == torch.arange(4.0)).all())
    assert len({tuple(row) for row in found[:, 0].tolist()}) > 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tokens and questions, and a run of ALOE that has learned to answer them."""
    folder = tmp_path_factory.mktemp("lamps")
    token_file(folder / "tokens.h5", EPISODES)
    question_file(folder / "questions.json", EPISODES, removal_env_step=2, seen_env_steps=7)
    words = [*configs("collide/aloe.yaml"), *sizes(token_dim=DIM, slots=SLOTS, frames=3)]
    words += [f"--data.init_args.path={folder}/tokens.h5", f"--data.init_args.questions={folder}/questions.json"]
    words += ["--data.init_args.frame_stride=2", f"--run_dir={folder}/run", f"--trainer.max_steps={LEARNED_STEPS}"]
    words += [f"--trainer.val_check_interval={LEARNED_STEPS}", "--model.init_args.warmup_steps=10"]
    words += ["--trainer.precision=32", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    assert main(["fit", *words, "--data.init_args.batch_size=32", "--model.init_args.shuffle_slots=false"]) == 0
    return folder


def results(path) -> dict[tuple[str, str], dict]:
    return {(row["model"], row["metric"]): row for row in json.loads(path.read_text())}


def test_it_learns_to_answer_questions_about_other_scenes(folder, capsys):
    found = results(folder / "run" / "results.json")
    metrics = {"question_accuracy@descriptive", "question_accuracy@explanatory", "question_accuracy@predictive"}
    metrics |= {"option_accuracy@explanatory", "option_accuracy@predictive"}
    assert {metric for _, metric in found} == metrics
    assert {row["n"] for (_, metric), row in found.items() if "option" in metric} == {12}  # of 6 validation scenes
    assert {row["value"] for row in found.values()} == {1.0}
    words = ["answer", f"{folder}/run", f"{folder}/questions.json", "--episodes", f"{folder}/tokens.h5"]
    assert main([*words, "--model_name=aloe", "--out", f"{folder}/out"]) == 0
    found = results(folder / "out" / "results.json")
    assert all(found["aloe", metric]["value"] == 1.0 for metric in metrics)
    assert all(found["text only", metric]["value"] < 1.0 for metric in metrics)
    assert found["aloe", "question_accuracy@descriptive"]["n"] == 6
    record = json.loads((folder / "out" / "run.json").read_text())
    assert record["evaluation"]["held_out"] == "6 episodes; the reader was trained on none of them"
    assert "text only" in capsys.readouterr().out


def test_scenes_of_no_training_and_other_questions(folder, tmp_path):
    """Of another file all scenes are held out, every second one is asked about; an answer may be new."""
    others = token_file(tmp_path / "others.h5", 9, env_steps=12, episodes_fingerprint="0123")
    scenes = json.loads(question_file(tmp_path / "others.json", 9).read_text())
    scenes[1]["questions"][0] |= {"answer": "perhaps", "question": "Is the strange lamp lit?"}
    for scene in scenes:
        scene["source"] = {"removal_env_step": 2, "seen_env_steps": 7}
    (tmp_path / "others.json").write_text(json.dumps(scenes))
    words = ["answer", f"{folder}/run", f"{tmp_path}/others.json", "--episodes", str(others)]
    assert main([*words, "--out", f"{tmp_path}/out"]) == 0
    found = results(tmp_path / "out" / "results.json")
    row = found["run", "question_accuracy@descriptive"]
    assert (row["n"], row["value"]) == (4, 0.75)
    assert found["run", "question_accuracy@explanatory"]["value"] == 1.0


def test_scenes_are_split_as_in_training(folder, tmp_path, monkeypatch):
    """Of a reader with another seed; the questions are about its own test scenes alone."""
    module = load_reader(folder / "run" / "checkpoints" / "last.ckpt")
    module.lineage["split_seed"] = 1
    monkeypatch.setattr(aloe_card, "load_reader", lambda checkpoint: module)
    used = []
    monkeypatch.setattr(aloe_card, "check_tokens", lambda module, data: used.append(data))
    data = QuestionTokens(f"{folder}/tokens.h5", f"{folder}/questions.json", frame_stride=2, split_seed=1)
    data.setup("test")
    scenes = json.loads((folder / "questions.json").read_text())
    (tmp_path / "test.json").write_text(json.dumps([scenes[episode] for episode in data.splits["test"]]))
    protocol = SceneProtocol(f"{folder}/tokens.h5", scenes=200, horizon_blocks=1)
    asked = read_questions(tmp_path / "test.json")
    answers = answer_with_aloe(Path("any"), protocol, asked, "cpu", lambda *_: nullcontext(NoProgress()))
    assert answers.account.startswith("6 episodes") and np.array_equal(used[0].splits["test"], data.splits["test"])


def test_what_the_checkpoint_says(folder):
    module = load_reader(folder / "run" / "checkpoints" / "last.ckpt")
    assert module.reading == {"frame_stride": 2, "world_model": None, "imagined_env_steps": 0}
    assert module.vocabulary.answers == ["no", "yes"] and not module.training
    assert module.lineage["split_seed"] == 0 and bool(module.token_scale.fitted)


def test_data_that_do_not_fit(folder, refused, tmp_path):
    words = ["fit", *configs("collide/aloe.yaml"), f"--data.init_args.path={folder}/tokens.h5", "--run_dir=run"]
    words += [f"--data.init_args.questions={folder}/questions.json", "--data.init_args.frame_stride=2"]
    assert "init_args.reader.init_args.frames is 16, but the data have 3; set it so" in refused(*words)
    fits = [*words, *sizes(token_dim=DIM, slots=SLOTS, frames=3)]
    assert "reader.init_args.vocabulary is 3, but the data need 11; set it to 11 or more" in refused(
        *fits, f"{READER}vocabulary=3"
    )
    other = question_file(tmp_path / "other.json", EPISODES, removal_env_step=2, seen_env_steps=7)
    other.write_text(other.read_text().replace("lamp", "light"))
    line = refused("test", folder / "run", f"--data.init_args.questions={other}", "--run_dir=test")
    assert (
        "have other words or answers than those of this checkpoint; ask it other questions with `cjepa answer`" in line
    )
    line = refused("answer", folder / "run", other, "--episodes", folder / "none.h5", "--out", "out")
    assert "none.h5" in line


def test_alike_scenes_differ(folder):
    """What the tests above rely on: lamps of both kinds are in every split."""
    assert {is_lit(episode) for episode in range(9)} == {True, False}


def test_on_the_rollout_of_a_world_model(
    collide_model_run, collide_table_path, question_path, tmp_path_factory, tmp_path, monkeypatch
):
    """Trained for two steps with a world model that is two steps old, then asked from another folder."""
    tokens = once(tmp_path_factory, "table-tokens.h5", tokenize("oracle", collide_table_path))
    words = [*configs("collide/aloe.yaml"), *sizes(token_dim=14, frames=13, joined_frames=1)]
    words += [f"--data.init_args.questions={question_path}", f"--data.init_args.world_model={collide_model_run.name}"]
    monkeypatch.chdir(collide_model_run.parent)
    run = fit(tmp_path / "run", tokens, *words, "--data.init_args.imagined_env_steps=14")
    assert load_reader(run / "checkpoints" / "last.ckpt").reading["imagined_env_steps"] == 14
    monkeypatch.chdir(tmp_path)
    words = ["answer", str(run), str(question_path), "--episodes", str(tokens), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    found = results(tmp_path / "out" / "results.json")
    assert {model for model, _ in found} == {"run", "text only"}
    assert found["run", "option_accuracy@predictive"]["n"] == found["text only", "option_accuracy@predictive"]["n"]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["evaluation"]["world_model"] == str(collide_model_run)
    moved_with_its_world_model(run, tmp_path)


def moved_with_its_world_model(run, folder):
    """The reader finds it beside itself, and says where it looked when it is gone."""
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    content["run_folder"], content["questions"]["reading"]["world_model"] = "/was/reader", "/was/model"
    checkpoint = folder / "is" / "reader" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    torch.save(content, checkpoint)
    with pytest.raises(UserError, match=f"its world model is gone: {folder}/is/model or /was/model; move it back"):
        load_reader(checkpoint)
    (folder / "is" / "model").mkdir()
    assert load_reader(checkpoint).reading["world_model"] == str(folder / "is" / "model")
