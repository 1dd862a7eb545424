"""What `cjepa fit` watches: a training that comes to nothing says so, and keeps what it had."""

import re

from cjepa.checkpoints import check_finite, read_checkpoint
from cjepa.cli import main
from tests.conftest import TOKEN_DIM, configs


def test_a_diverged_training_names_its_batch_and_keeps_the_checkpoint_before(tokens_path, tmp_path, capfd):
    words = ["fit", *configs("pusht/cjepa.yaml", "smoke/world_model.yaml"), "--data.init_args.path", str(tokens_path)]
    words += ["--run_dir", str(tmp_path / "run"), "--data.init_args.batch_size", "8", "--model.init_args.lr", "1e6"]
    words += [f"--model.init_args.predictor.init_args.token_dim={TOKEN_DIM}", "--model.init_args.warmup_steps=1"]
    words += ["--trainer.max_steps", "60", "--trainer.val_check_interval", "1", "--trainer.accelerator", "cpu"]
    assert main([*words, "--trainer.enable_progress_bar", "false"]) == 1
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    named = r"cjepa fit: error: step (\d+): train/\w+ is (nan|inf).*, on clips of episodes \d[\d, ]*( and \d+ more)?"
    found = re.match(f"{named} of {re.escape(str(tokens_path))}", error)
    assert found, error
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = read_checkpoint(last)
    check_finite(content, last)
    assert 1 <= content["global_step"] <= int(found[1])
