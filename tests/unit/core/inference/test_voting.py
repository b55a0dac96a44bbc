import numpy as np
import pytest

from core.inference.voting import decide, normalize_weights


def as_members(*rows):
    """Return for each row the answers of a member to one image."""
    return [np.array([row], np.float32) for row in rows]


def test_soft_votes_are_the_mean_of_the_probabilities():
    vote = decide(as_members([0.6, 0.4], [0.5, 0.5], [0.1, 0.9]), voting="soft", weights=[1, 1, 1])
    np.testing.assert_allclose(vote.shares, [[0.4, 0.6]], atol=1e-6)
    assert vote.order.tolist() == [[1, 0]]
    assert vote.ballots.tolist() == [[0], [0], [1]]
    assert vote.agreement == pytest.approx([1 / 3])


def test_hard_votes_are_counted():
    vote = decide(as_members([0.6, 0.4], [0.51, 0.49], [0.0, 1.0]), voting="hard", weights=[1, 1, 1])
    np.testing.assert_allclose(vote.shares, [[2 / 3, 1 / 3]], atol=1e-6)
    assert vote.order.tolist() == [[0, 1]]
    assert vote.agreement == pytest.approx([2 / 3])


@pytest.mark.parametrize("voting", ["hard", "soft"])
def test_weights_decide(voting):
    members = as_members([0.9, 0.1], [0.2, 0.8])
    assert decide(members, voting=voting, weights=[3, 1]).order[0, 0] == 0
    assert decide(members, voting=voting, weights=[1, 3]).order[0, 0] == 1
    assert decide(members, voting=voting, weights=[0, 1]).agreement == pytest.approx([1])


def test_a_tie_of_hard_votes_goes_to_the_higher_summed_probability():
    members = as_members([0.5, 0.3, 0.2], [0.1, 0.7, 0.2])
    vote = decide(members, voting="hard", weights=[1, 1])
    assert vote.order.tolist() == [[1, 0, 2]]
    np.testing.assert_allclose(vote.shares, [[0.5, 0.5, 0.0]])


def test_weights_whose_sums_differ_in_the_last_digit_tie():
    unsure = as_members([1.0, 0.0], [1.0, 0.0], [0.4, 0.6])
    assert decide(unsure, voting="hard", weights=[0.1, 0.2, 0.3]).order[0, 0] == 0
    members = as_members([0.9, 0.1], [0.9, 0.1], [0.0, 1.0])
    assert decide(members, voting="hard", weights=[0.1, 0.2, 0.3]).order[0, 0] == 1
    assert decide(members, voting="hard", weights=[0.1, 0.2, 0.30001]).order[0, 0] == 1
    assert decide(members, voting="hard", weights=[0.1, 0.2, 0.29999]).order[0, 0] == 0


def test_a_large_ensemble_on_many_images_agrees_with_a_count_by_hand():
    draw = np.random.default_rng(0)
    members = [draw.dirichlet(np.ones(7), 200).astype(np.float32) for _ in range(25)]
    weights = draw.integers(1, 4, 25).tolist()
    hard = decide(members, voting="hard", weights=weights)
    soft = decide(members, voting="soft", weights=weights)
    for image in range(200):
        votes, sums = np.zeros(7), np.zeros(7)
        for member, weight in zip(members, weights, strict=True):
            votes[member[image].argmax()] += weight
            sums += weight * member[image].astype(np.float64)
        most = max(range(7), key=lambda one: (votes[one], sums[one]))
        assert hard.order[image, 0] == most
        assert soft.order[image, 0] == sums.argmax()
        assert hard.agreement[image] == pytest.approx(votes[most] / sum(weights), abs=1e-6)


def test_weights_are_brought_to_a_sum_of_one():
    np.testing.assert_allclose(normalize_weights([1, 3]), [0.25, 0.75])
    np.testing.assert_allclose(normalize_weights([1e300, 1e300]), [0.5, 0.5])


@pytest.mark.parametrize("voting", ["hard", "soft"])
@pytest.mark.parametrize("count", range(2, 26))
def test_however_many_are_of_one_mind_no_share_exceeds_one(voting, count):
    vote = decide(as_members([0.0, 1.0]) * count, voting=voting, weights=[1] * count)
    assert vote.agreement[0] <= 1
    assert vote.agreement[0] == pytest.approx(1)
    assert vote.shares.max() <= 1
