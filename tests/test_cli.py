"""The command line: what it answers, and that every wrong call is one clear line, exit code 2, nothing lost."""

import errno
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from cjepa import __version__, cli
from cjepa.cli import LIGHTNING_VERBS, VERBS, main
from cjepa.configuration import class_paths
from tests.conftest import configs

TOKENIZER = configs("pusht/tokenizer.yaml")
WORLD_MODEL = configs("pusht/cjepa.yaml", "smoke/world_model.yaml")
PLAN = configs("pusht/plan.yaml", "smoke/plan.yaml")


def test_help_loads_nothing_heavy():
    heavy = ("torch", "lightning", "jsonargparse", "numpy", "h5py")
    code = f"""
import sys
from cjepa.cli import main
assert main(["--help"]) == 0
assert not [name for name in {heavy} if name in sys.modules]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {verb} " in done.stdout for verb in {**VERBS, **LIGHTNING_VERBS})


OWN = """from torch import nn
import gymnasium as gym
from cjepa.arguments import at_least
from cjepa.envs.policies import StillPolicy
from cjepa.envs.pusht.env import PushT

class Refuses(StillPolicy):
    def __init__(self):
        at_least(0, speed=-1)

class Forgets(nn.Module, StillPolicy):
    def __init__(self):
        self.layer = nn.Linear(1, 1)

class ForgetsSize(PushT):
    def __init__(self):
        pass

for name in ("own:Refuses", "own:ForgetsSize", "own_syntax:Any"):
    gym.register(f"own/{name.partition(':')[2]}-v0", entry_point=name)
"""
PUSHT, STILL = "cjepa/PushT-v0", "StillPolicy"
FORGOTTEN = "never calls super().__init__(); call it there, first of all"


@pytest.mark.parametrize(
    ("env_id", "policy", "said"),
    [
        (PUSHT, "own.Refuses", "speed is -1, expected 0 or more (own.py, line 9, in Refuses)"),
        (PUSHT, "own_faulty.Any", "no speed (own_faulty.py, line 1)"),
        (PUSHT, "own.Forgets", f"Forgets.__init__ (own.py, line 12) {FORGOTTEN}"),
        ("own:own/ForgetsSize-v0", STILL, f"ForgetsSize.__init__ (own.py, line 16) {FORGOTTEN}"),
        ("own:own/Refuses-v0", STILL, "speed is -1, expected 0 or more (own.py, line 9, in Refuses)"),
        ("own:own/Any-v0", STILL, "invalid syntax (own_syntax.py, line 1)"),
        ("own_syntax:own/Any-v0", STILL, "invalid syntax (own_syntax.py, line 1)"),
        ("own_import:own/Any-v0", STILL, "No module named 'nowhere' (own_import.py, line 2)"),
    ],
)
def test_errors_of_own_code_name_its_file_line_and_class(env_id, policy, said, tmp_path, monkeypatch, refused):
    monkeypatch.setattr(sys, "path", list(sys.path))
    faulty = {"_faulty": "raise ValueError('no speed')", "_syntax": "speed =", "_import": "\nimport nowhere"}
    for name, text in {"": OWN, **faulty}.items():
        (tmp_path / f"own{name}.py").write_text(text)
    assert refused("collect", "--env_id", env_id, "--policy", policy, "--out", "a.h5").endswith(f"{said}\n")


def test_a_full_disk_is_told_wherever_it_is_met(monkeypatch, capsys):
    def write(argv):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cli, "execute", write)
    assert main(["fit"]) == 2
    assert capsys.readouterr().err == "cjepa fit: error: the disk is full; free some space, then repeat the command\n"


def test_no_words_are_a_call_for_help(capsys):
    assert main([]) == 0
    assert "usage: cjepa" in capsys.readouterr().out


@pytest.mark.slow
def test_exit_codes_of_the_program(tmp_path):
    program = [sys.executable, "-m", "cjepa.cli"]
    wrong = subprocess.run([*program, "dance"], capture_output=True, text=True, cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "cjepa dance: error: no such command 'dance'; `cjepa --help` lists them\n"
    wrong = subprocess.run([*program, "verify", "a.h5", "--sped", "3"], capture_output=True, text=True, cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.count("\n") == 1 and "--sped" in wrong.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", [*VERBS, *LIGHTNING_VERBS])
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as done:
        main([*verb.split(), "--help"])
    assert done.value.code == 0
    assert re.match(rf"usage: cjepa .*{verb}", capsys.readouterr().out)


def test_help_lists_every_class_of_the_package_and_loads_no_figures():
    """In a process of its own: in this one, other tests have imported them."""
    code = """
import sys
from cjepa.cli import main
try:
    main(["plan", "--help"])
finally:
    assert "matplotlib" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = "".join(done.stdout.split())
    choices = ["planners.icem.ICEM", "planners.cem.CEM", "probe_error.ProbeError", "HoldWhenUnsure"]
    assert [choice for choice in choices if choice not in text] == []
    assert "KeepingPlanner" not in text  # that one is for ourselves


def test_help_of_a_training_imports_what_it_lists(monkeypatch, capsys):
    imports, imported = [], class_paths.import_choices
    monkeypatch.setattr(class_paths, "import_choices", lambda: imports.append(imported()))
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--model.help", "WorldModel"])
    text = "".join(capsys.readouterr().out.split())
    choices = ["EntityTransformer", "ObjectFilter", "TubeMask"]
    assert imports and [choice for choice in choices if choice not in text] == []


def test_info(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert re.match(r"device .+, (1 core|\d+ cores), (1 torch thread|\d+ torch threads)\n", out) and "\ntorch " in out


@pytest.mark.parametrize("words", [["verify"], ["inspect"], ["--help"], ["verify", "--help"]])
def test_a_reader_that_has_gone_is_no_error(words, episodes_path, monkeypatch, capfd):
    """As with `cjepa inspect PATH | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    words = words if "--help" in words else [*words, str(episodes_path)]
    with monkeypatch.context() as patched, os.fdopen(writer, "w") as stdout:
        patched.setattr(sys, "stdout", stdout)
        if words == ["verify", "--help"]:
            with pytest.raises(SystemExit, match="0"):
                main(words)
        else:
            assert main(words) == 0
    assert "error" not in capfd.readouterr().err


def test_an_interrupt_is_130(monkeypatch, refused):
    def interrupted(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "execute", interrupted)
    assert "repeat the command to continue" in refused("study", "any.yaml", code=130)
    assert "repeat the command to continue" in refused("plan", "any", code=130)
    assert "repeat the command" not in refused("intervene", "any", code=130)
    assert "nothing was saved, repeat the command to start again" in refused("fit", "any", code=130)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"cjepa {__version__}\n"


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (lambda: torch.empty(2**60, dtype=torch.uint8), "when 1152921504606846976 bytes more were needed"),
        (lambda: np.empty(2**60, np.uint8), "when 1.00 EiB more were needed"),
        (lambda: [0] * 2**60, "memory ran out;"),
        (lambda: raises(torch.OutOfMemoryError("Tried to allocate 20.00 GiB. GPU 0")), "when 20.00 GiB more"),
    ],
    ids=["torch", "numpy", "Python", "GPU"],
)
def test_too_little_memory_is_one_line(error, asked, refused, monkeypatch):
    monkeypatch.setattr(cli, "execute", lambda argv: error())
    line = refused("plan", "any", code=1)
    assert "memory ran out" in line and asked in line and "num_samples of a planner" in line


def test_other_errors_of_torch_are_bugs(monkeypatch):
    monkeypatch.setattr(cli, "execute", lambda argv: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        main(["plan", "any"])


def raises(error: Exception) -> None:
    raise error


def test_a_training_without_a_config_or_a_test_without_a_run_says_what_to_type(refused):
    for words in ([], ["--data.init_args.path", "a.h5"]):
        assert "cjepa fit -c experiments/pusht/cjepa.yaml" in refused("fit", *words)
        assert "it needs a run: cjepa test RUN" in refused("test", *words)


@pytest.mark.parametrize("verb", ["collect", "plan", "plan-baselines", "fit", "test"])
def test_a_missing_config_is_named(verb, refused):
    assert "nowhere.yaml" in refused(verb, "-c", "nowhere.yaml")


@pytest.mark.parametrize("text", ["just words", "- 1\n- 2", "3", "", "# nothing\n"])
@pytest.mark.parametrize("verb", ["collect", "fit"])
def test_a_config_without_options_is_named(verb, text, refused, tmp_path):
    (tmp_path / "wrong.yaml").write_text(text)
    assert "wrong.yaml: not a YAML file of options" in refused(verb, "-c", "wrong.yaml")


def test_a_wrong_command_of_a_group_is_told_whole(refused):
    assert "no such command 'bench nothing'" in refused("bench", "nothing")
    assert "no such command 'nothing'" in refused("nothing", "bench")
    assert refused("tokenise", "runs/slots").endswith("no such command 'tokenise'; did you mean tokenize?\n")
    assert refused("bench", "planner", "--rounds", "0").startswith("cjepa bench planner: error: rounds: ")


def test_errors_of_the_system_name_the_file_without_a_number(refused):
    line = refused("init", "long" * 100)
    assert "longlong" in line and line.strip().endswith(": File name too long") and "Errno" not in line


@pytest.mark.parametrize("verb", ["collect", "tokenize", "plan", "plan-baselines", "study", "report"])
def test_missing_arguments_are_named(verb, refused):
    assert re.search(r"missing: .+; --help explains (it|them)$", refused(verb).strip())


@pytest.mark.parametrize(
    ("verb", "key", "text"),
    [
        ("collect", "episods", "episods: 3"),
        ("plan", "iteration", "planner: {class_path: cjepa.planning.planners.cem.CEM, init_args: {iteration: 3}}"),
        ("fit", "max_step", "trainer: {max_step: 3}"),
        ("fit", "modell", "modell: {lr: 3}"),
        ("fit", "rate", "model: {class_path: cjepa.world_models.training.WorldModel, init_args: {rate: 3}}"),
    ],
)
def test_an_unknown_key_is_named(verb, key, text, refused, tmp_path):
    (tmp_path / "wrong.yaml").write_text(text)
    assert key in refused(verb, *(WORLD_MODEL if verb == "fit" else []), "-c", "wrong.yaml")


def test_values_of_the_wrong_type_are_named(refused):
    assert "episodes" in refused("collect", *configs("pusht/collect.yaml"), "--episodes", "many", "--out", "x.h5")
    assert "max_steps" in refused("fit", *TOKENIZER, "--trainer.max_steps", "many")
    assert "Brain" in refused("fit", *TOKENIZER, "--model", "cjepa.Brain")
    assert "--sped" in refused("fit", *TOKENIZER, "--sped", "3")


def test_what_a_constructor_refuses_is_one_line(refused):
    words = ["plan", "any", *PLAN, "--episodes", "any.h5"]
    assert "num_elites is 50" in refused(*words, "--planner.init_args.num_elites", "50")
    assert "abacus" in refused("fit", *TOKENIZER, "--trainer.accelerator", "abacus")


@pytest.mark.slow
def test_missing_files_are_named(refused, episodes_path):
    assert "nowhere.h5" in refused("fit", *TOKENIZER, "--data.init_args.path", "nowhere.h5")
    assert "nowhere.ckpt" in refused("fit", *TOKENIZER, "--ckpt_path", "nowhere.ckpt")
    assert "nowhere" in refused("plan", "nowhere", *PLAN, "--episodes", episodes_path)
    assert "nowhere" in refused("tokenize", "nowhere", episodes_path, "--out", "tokens.h5")
    assert "nowhere.yaml" in refused("study", "nowhere.yaml")
    assert "nowhere" in refused("report", "nowhere")


@pytest.mark.parametrize("name", ["abacus", "meta", "hpu", "cuda:99"])
def test_a_device_that_is_not_there(name, refused, slots_run, world_model_run, episodes_path):
    tokenize = ["tokenize", slots_run, episodes_path, "--out", "tokens.h5"]
    plan = ["plan", world_model_run, *PLAN, "--episodes", episodes_path, "--out", "plan"]
    for words in (tokenize, plan):
        assert f"--device {name}: no such device on this machine" in refused(*words, "--device", name)


def test_the_text_of_an_issue_has_the_versions(capsys):
    assert main(["info", "--bug"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("### What I typed")
    assert f"torch {torch.__version__}" in printed.split("### Versions")[1]
