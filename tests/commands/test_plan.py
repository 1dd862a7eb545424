"""Where `plan` and `plan-baselines` write: a folder of their own, or nothing."""

import pytest

from cjepa.commands.evaluations import new_results_folder
from cjepa.locks import only_process
from tests.conftest import configs

FILES = ["results.json", "run.json", "trials.csv", "steps.csv", "media", "report.html"]
BASELINES = ["plan-baselines", *configs("pusht/plan_baselines.yaml", "smoke/plan_baselines.yaml"), "--workers", "1"]


@pytest.fixture(params=["plan", "plan-baselines"])
def words(request, world_model_run, episodes_path, monkeypatch):
    """Either command without its --out; computing anything is a fault."""

    def compute(*_):
        pytest.fail("it computes before it looks at --out")

    monkeypatch.setattr("cjepa.commands.plan.evaluate_model", compute)
    monkeypatch.setattr("cjepa.commands.plan_baselines.evaluate_baselines", compute)
    plan = ["plan", world_model_run, *configs("pusht/plan.yaml", "smoke/plan.yaml")]
    return [*(plan if request.param == "plan" else BASELINES), "--episodes", episodes_path, "--out"]


@pytest.mark.parametrize("name", FILES)
def test_files_of_the_user_stay(name, words, refused, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("of the user")
    assert f"{out / name} exists and was not made by this command; choose another --out" in refused(*words, out)
    assert [path.name for path in out.iterdir()] == [name] and (out / name).read_text() == "of the user"


@pytest.mark.parametrize("within", ["mine.txt", "mine.txt/plan"])
def test_a_file_in_place_of_the_folder_is_named(within, words, refused, tmp_path):
    (tmp_path / "mine.txt").write_text("of the user")
    said = refused(*words, tmp_path / within)
    assert f"{tmp_path / 'mine.txt'} is a file, expected a folder; choose another --out" in said
    assert (tmp_path / "mine.txt").read_text() == "of the user"


@pytest.mark.parametrize("name", ["results.json", "results_test.json", "checkpoints"])
def test_results_and_runs_stay(name, words, refused, tmp_path):
    out = tmp_path / "out"
    with only_process(out, "an earlier evaluation"):
        (out / name).write_text("of before")
    assert f"{out} already contains results or a run; choose another --out" in refused(*words, out)
    assert {path.name for path in out.iterdir()} <= {name, ".lock"} and (out / name).read_text() == "of before"


def test_one_evaluation_at_a_time(words, refused, tmp_path):
    with only_process(tmp_path / "out", "the first"):
        assert f"out: cjepa {words[0]} already runs, process" in refused(*words, tmp_path / "out")


def test_a_refused_evaluation_leaves_no_folder(refused, tmp_path):
    refused(*BASELINES, "--episodes", "nowhere.h5", "--out", tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(36, "File name too long"), MemoryError(), AssertionError("a bug")])
def test_nor_does_one_that_fails_unless_there_are_results(error, tmp_path):
    with pytest.raises(type(error)), new_results_folder(tmp_path / "new" / "out", "plan"):
        raise error
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    with pytest.raises(type(error)), new_results_folder(tmp_path / "out", "plan"):
        raise error
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(type(error)), new_results_folder(tmp_path / "parts", "plan") as folder:
        (folder / "seed-0").mkdir()
        (folder / "seed-0" / "results.json").write_text("[]")
        raise error
    assert (tmp_path / "parts" / "seed-0" / "results.json").read_text() == "[]"


def test_pairs_as_published_need_the_seed_of_the_training(refused, episodes_path):
    words = [*BASELINES, "--episodes", episodes_path, "--out", "out", "--published_protocol=true", "--split_seed=null"]
    assert "--split_seed null: --published_protocol draws from training episodes; give their seed" in refused(*words)
