"""A run's configuration as a diff to its base."""

from cjepa.reporting.asked import changes_to_base

BASE = """
model:
  class_path: WorldModel
  init_args: {lr: 1e-3, depth: 4, mask: {class_path: ObjectMask, init_args: {num_masked: 3}}}
trainer: {max_steps: 3000}
"""
CONFIG = """
seed_everything: 1
model:
  class_path: cjepa.world_models.training.WorldModel
  init_args:
    lr: 0.001
    depth: 6
    dropout: 0.0
    mask: {class_path: ObjectMask, init_args: {num_masked: 1, random_count: true}}
trainer: {max_steps: 1850, devices: 1}
"""


def test_what_later_files_and_options_change(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "deep.yaml").write_text("model: {init_args: {depth: 6, dropout: 0.0}}")
    command = "cjepa fit -c base.yaml -c deep.yaml --run_dir runs/a --seed_everything 1 --trainer.max_steps 1850"
    command += ' --model.init_args.mask {"class_path": "ObjectMask", "init_args": {"num_masked": 1}}'
    assert changes_to_base(command, CONFIG) == [
        "  base.yaml",
        "- model.init_args.depth: 4",
        "+ model.init_args.depth: 6",
        "- model.init_args.mask.init_args.num_masked: 3",
        "+ model.init_args.mask.init_args.num_masked: 1",
        "- trainer.max_steps: 3000",
        "+ trainer.max_steps: 1850",
        "+ model.init_args.dropout: 0.0",
        "+ seed_everything: 1",
        "+ model.init_args.mask.init_args.random_count: true",
    ]


def test_files_that_are_gone_and_a_run_that_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert changes_to_base("cjepa fit -c base.yaml --trainer.max_steps=1850", CONFIG)[1:] == [
        "+ trainer.max_steps: 1850"
    ]
    (tmp_path / "base.yaml").write_text("trainer: {devices: 1}")
    assert changes_to_base("cjepa fit -c base.yaml", CONFIG) == []
    assert changes_to_base("", "a: [") == []
