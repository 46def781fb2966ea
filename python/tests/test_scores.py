"""Scores against SciPy, and draws against their distributions."""

import numpy as np
import pytest
from scipy.stats import spearmanr

import tribute


@pytest.fixture
def tests(game):
    masks = np.unique(tribute.draw("datamodel", game.n, 60, seed=1), axis=0)
    utilities = np.array([game.utility(masks) + game.rng.normal(size=len(masks)) for _ in range(3)])
    return masks, utilities


def test_lds_is_spearman_by_scipy(game, tests):
    masks, utilities = tests
    scores = game.rng.normal(size=game.n)
    result = tribute.lds(scores, masks, utilities, bootstrap=200)
    expected = [100 * spearmanr(masks @ scores, row).statistic for row in utilities]
    np.testing.assert_allclose(result.sets, expected, atol=1e-9)
    assert result.mean == pytest.approx(np.mean(expected), abs=1e-9)
    assert result.half_width == pytest.approx(1.96 * np.std(expected, ddof=1) / np.sqrt(3), abs=1e-9)
    assert result.interval[0] < result.mean < result.interval[1]
    assert result.coalitions == len(masks) and result.standard_error > 0
    one = tribute.lds(scores, masks, utilities[0], bootstrap=200)
    assert one.mean == pytest.approx(expected[0], abs=1e-9) and one.half_width is None


def test_an_attribution_is_judged_by_its_predictions(game, tests):
    masks, utilities = tests
    train = tribute.draw("shapley", game.n, 100, seed=2)
    fit = tribute.shapley(train, game.utility(train), 2.0, 0.0, bootstrap=0)
    one = tribute.lds(fit, masks, utilities)
    assert one.mean == pytest.approx(tribute.lds(fit.values, masks, utilities).mean, abs=1e-9)
    difference = tribute.lds_difference(fit, -fit.values, masks, utilities)
    assert difference.mean == pytest.approx(2 * one.mean, abs=1e-9)
    assert difference.interval[0] > 0
    same = tribute.lds_difference(fit, fit, masks, utilities)
    assert same.mean == 0 and same.interval == (0, 0)


def test_noise_ceiling_is_the_mean_correlation_of_pairs(tests):
    masks, utilities = tests
    ceiling = tribute.noise_ceiling(masks, utilities)
    pairs = [spearmanr(utilities[a], utilities[b]).statistic for a, b in [(0, 1), (0, 2), (1, 2)]]
    assert ceiling.between_retrainings == pytest.approx(100 * np.mean(pairs), abs=1e-9)
    assert ceiling.attainable == pytest.approx(100 * np.sqrt(np.mean(pairs)), abs=1e-9)
    assert (ceiling.seeds, ceiling.coalitions) == (3, len(masks))
    with pytest.raises(ValueError, match="at least 2"):
        tribute.noise_ceiling(masks, utilities[:1])


def test_spearman_with_ties():
    one, two = [1.0, 2.0, 2.0, 5.0, -1.0], [0.5, 0.5, 7.0, 8.0, 0.0]
    assert tribute.spearman(one, two) == pytest.approx(spearmanr(one, two).statistic, abs=1e-12)
    with pytest.raises(ValueError, match="equal"):
        tribute.spearman(one, [1.0] * 5)
    with pytest.raises(ValueError, match="at least 3"):
        tribute.spearman([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="finite"):
        tribute.spearman(one, [*two[:4], np.nan])
    with pytest.raises(ValueError, match="5 entries"):
        tribute.spearman(one, two[:4])


def test_undefined_scores_say_why(tests):
    masks, _ = tests
    with pytest.raises(ValueError, match="test set 0.*equal"):
        tribute.lds(np.arange(6.0), masks, np.ones(len(masks)))
    with pytest.raises(ValueError, match="4 scores, the masks are of 6"):
        tribute.lds(np.arange(4.0), masks, np.arange(len(masks)))


def test_draws_follow_their_distributions():
    n, count = 8, 4000
    sizes = tribute.draw("shapley", n, count, seed=4).sum(axis=1)
    expected = np.array([1 / (s * (n - s)) for s in range(1, n)])
    found = np.bincount(sizes, minlength=n + 1)[1:n] / count
    # Four standard errors.
    np.testing.assert_allclose(found, expected / expected.sum(), atol=4 * np.sqrt(0.25 / count))
    assert (tribute.draw("datamodel", n, 50, alpha=0.25).sum(axis=1) == 2).all()
    uniform = tribute.draw("uniform", n, count)
    np.testing.assert_allclose(uniform.mean(axis=0), 0.5, atol=4 * np.sqrt(0.25 / count))
    assert (tribute.draw("loo", n, n).sum(axis=1) == n - 1).all()
    np.testing.assert_array_equal(np.sort(tribute.draw("add_one_in", n, n), axis=0)[-1], np.ones(n))
    assert tribute.draw("shapley", n, 0).shape == (0, n)
    np.testing.assert_array_equal(tribute.draw("shapley", n, 5), tribute.draw("shapley", n, 9)[:5])
    with pytest.raises(ValueError, match="even"):
        tribute.draw("even", n, 1)
    with pytest.raises(ValueError, match="alpha"):
        tribute.draw("datamodel", n, 1, alpha=0.0)
