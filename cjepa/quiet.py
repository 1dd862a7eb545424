"""Lightning without its remarks."""

import logging
import warnings


def silence_lightning() -> None:
    """Hide what Lightning and its libraries say about choices that are made on purpose, or about themselves.

    The filters of warnings end with a surrounding ``warnings.catch_warnings()``.
    """
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*args parameter is intended to run from within Python",
        ".*nn.Module.*already saved during checkpointing",
        ".*does not have many workers",
        ".*is smaller than the logging interval",
        ".*exists and is not empty",
        ".*The dirpath has changed",
        ".*not supported by the model summary",
        ".*isinstance.treespec, LeafSpec",
        ".*callbacks used to create the checkpoint need to be provided",  # of older runs
        ".*your dataloader is not resumable",  # its sampler is: see data/sampling.py
    ):
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"lightning\.")  # its own calls
