import numpy as np

from cjepa.evaluation.interventions.contact_graphs import closest_approach, contact_hops


def log(*steps: list[tuple[int, int]]) -> np.ndarray:
    """Contacts of one window of four bodies."""
    contacts = np.zeros((1, len(steps), 4, 4), np.uint8)
    for step, pairs in enumerate(steps):
        for i, j in pairs:
            contacts[0, step, i, j] = contacts[0, step, j, i] = 1
    return contacts


def test_influence_follows_time():
    """0 hits 1, then 1 hits 2: 0 reaches 2, but 2 does not reach 0."""
    hops = contact_hops(log([(0, 1)], [], [(1, 2)]))[0]
    assert hops.tolist() == [[0, 1, 0, 0], [1, 0, 1, 0], [2, 1, 0, 0], [0, 0, 0, 0]]


def test_contacts_of_one_env_step_chain_in_either_order():
    hops = contact_hops(log([(2, 3), (0, 1), (1, 2)]))[0]
    assert hops[3, 0] == hops[0, 3] == 3 and hops[2, 0] == 2 and hops[1, 0] == 1


def test_the_fewest_hops_count():
    hops = contact_hops(log([(0, 1)], [(1, 2)], [(0, 2)]))[0]
    assert hops[2, 0] == 1 and hops[2, 1] == 1 and hops[0, 1] == 1
    assert hops[0, 2] == 1 and hops[1, 2] == 1


def test_windows_are_independent_and_an_empty_one_has_no_edges():
    hops = contact_hops(np.concatenate([log([(0, 1)]), log([])]))
    assert hops[0].sum() == 2 and hops[1].sum() == 0


def test_the_closest_approach_jumps_over_bodies_in_time():
    """1 passes 0 at distance 1, then 2 at distance 3; 0 and 2 are always 100 apart."""
    track = np.array([[[0.0, 0], [1, 0], [100, 0]], [[0, 0], [50, 0], [100, 0]], [[0, 0], [97, 0], [100, 0]]])
    reach = closest_approach(track[None])[0]
    assert reach[1, 0] == reach[0, 1] == 1 and reach[2, 1] == 3
    assert reach[2, 0] == 3  # by way of 1
    assert reach[0, 2] == 50  # 2 meets 1 only after 1 has left 0, so the nearest jumps are those of the middle frame
    track[:, 1] = np.nan
    assert closest_approach(track[None])[0][2, 0] == 100 and np.isinf(closest_approach(track[None])[0][1, 0])
