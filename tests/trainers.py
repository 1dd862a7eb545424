"""The trainer of tests that are not about what a training writes or shows."""

import lightning as L


def quiet_trainer(max_steps: int = 1, **options) -> L.Trainer:
    """On the CPU, without logs, checkpoints or words, unless ``options`` say otherwise."""
    silent = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return L.Trainer(max_steps=max_steps, accelerator="cpu", **{**dict.fromkeys(silent, False), **options})
