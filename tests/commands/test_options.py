"""What several verbs ask of their options."""

import pytest

from cjepa.commands.options import next_fit


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
