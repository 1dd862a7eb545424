"""Result rows of what was measured on scenes of held-out episodes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from cjepa.evaluation.interventions.laboratory import Laboratory, SceneProtocol
from cjepa.evaluation.measurements import Measurement
from cjepa.reporting.records import result_row
from cjepa.reporting.tables import Row


def rows_of_scenes(
    measured: Iterable[tuple[str, Measurement]], lab: Laboratory, protocol: SceneProtocol, folder: Path
) -> list[Row]:
    """One row of ``results.json`` per number.

    Args:
        measured: numbers, each with the name of the model, or of what answers in its place.
        lab: of the model and the scenes.
        protocol: of the scenes.
        folder: of the results.
    """
    common = {
        "tokens": lab.tokenizer.num_slots,
        "token_dim": lab.tokenizer.slot_dim,
        "split": "test",
        "seed": protocol.seed,
        "run": folder.name,
    }
    return [result_row(model=model, **common, **_values(found)) for model, found in measured]


def _values(found: Measurement) -> dict[str, Any]:
    """Of a row; JSON has no NaN."""
    numbers = {key: getattr(found, key) for key in ("value", "low", "high")}
    finite = {key: value if value is not None and np.isfinite(value) else None for key, value in numbers.items()}
    return finite | {"metric": found.metric, "n": found.n, "unit": found.unit}
