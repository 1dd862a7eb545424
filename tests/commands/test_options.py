"""What several verbs ask of their options."""

import pytest

from cjepa.cli import main
from cjepa.commands.evaluations import kept_plans
from cjepa.commands.options import next_fit
from cjepa.commands.tokenize import YAMLS_TOKEN_DIM
from cjepa.configuration.yaml_files import read_yaml
from cjepa.evaluation.planning.protocol import PlanningProtocol
from tests.conftest import EXPERIMENTS


@pytest.mark.parametrize(
    ("env_id", "expected"),
    [
        ("cjepa/Collide-v0", "cjepa fit -c experiments/collide/a.yaml --data.init_args.path b.h5"),
        ("cjepa/PushT-v0", "cjepa fit -c experiments/pusht/a.yaml --data.init_args.path b.h5"),
        ("cjepa/NarrowDisc-v0", None),
        ("swm/TwoRoom-v1", None),
        (None, None),
    ],
)
def test_the_next_command_names_yamls_that_fit_or_none(env_id, expected):
    assert next_fit({} if env_id is None else {"env_id": env_id}, "a.yaml", "b.h5") == expected


@pytest.mark.parametrize("env", ["pusht", "collide"])
def test_the_yamls_take_slots_as_they_are(env):
    options = read_yaml(EXPERIMENTS / env / "cjepa.yaml")["model"]["init_args"]["predictor"]["init_args"]
    assert options["token_dim"] == YAMLS_TOKEN_DIM


def test_training_on_tokens_of_another_width_is_told_the_width(episodes_path, tmp_path, capsys):
    assert main(["tokenize", "oracle", str(episodes_path), "--out", str(tmp_path / "tokens.h5")]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    assert line.endswith("tokens.h5 --model.init_args.predictor.init_args.token_dim 7")


class Planned:
    """A planner of the user's own: its options are private."""

    def __init__(self, option):
        self._option = option


def test_plans_are_kept_by_all_that_decides_them(tmp_path, caplog):
    def job(option, margin=0.1, **changes):
        protocol = PlanningProtocol("no-such.h5", **changes)
        asked = {"planner": Planned(option), "protocol": protocol, "out": str(option), "certify_margin": margin}
        return kept_plans(tmp_path, asked, [])

    assert job(1) == job(1, against="elsewhere") == job(1, margin=0.2)
    assert job(1) != job(2) and job(1) != job(1, seed=1)
    assert job(lambda: 0) is None
    assert "Planned._option is a function, which cannot be compared" in caplog.text
