"""What several verbs ask of their options."""

import pytest

from cjepa.commands.options import experiments_of


@pytest.mark.parametrize(
    ("env_id", "folder"),
    [("cjepa/Collide-v0", "collide"), ("cjepa/PushT-v0", "pusht"), ("swm/TwoRoom-v1", "pusht"), (None, "pusht")],
)
def test_the_next_command_names_yamls_that_fit(env_id, folder):
    assert experiments_of({} if env_id is None else {"env_id": env_id}) == f"experiments/{folder}"
