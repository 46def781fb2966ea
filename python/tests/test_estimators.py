"""Estimators against their definitions, NumPy, scikit-learn and shap."""

import numpy as np
import pytest
from sklearn.linear_model import LassoCV, LinearRegression, RidgeCV

import tribute


def observed(game, distribution, count, noise=0.1, seed=3):
    masks = tribute.draw(distribution, game.n, count, seed=seed)
    utilities = game.utility(masks) + noise * np.random.default_rng(seed).normal(size=count)
    return masks, utilities


def kernel_shap(x, y, v1, v0):
    """Covert & Lee 2021, eq. 7."""
    inverse = np.linalg.pinv(x.T @ x / len(x))
    b = x.T @ (y - v0) / len(x)
    ones = np.ones(x.shape[1])
    return inverse @ (b - ones * ((ones @ inverse @ b - v1 + v0) / (ones @ inverse @ ones)))


def test_shapley_is_the_formula(game):
    masks, utilities = observed(game, "shapley", 80)
    fit = tribute.shapley(masks, utilities, full=2.0, none=-1.0, bootstrap=100)
    np.testing.assert_allclose(fit.values, kernel_shap(masks.astype(float), utilities, 2.0, -1.0), rtol=0, atol=1e-12)
    assert fit.values.sum() == pytest.approx(3.0, abs=1e-12)
    assert fit.estimator == "kernel_shap" and fit.intercept == -1.0
    assert (fit.intervals[:, 0] < fit.values).all() and (fit.values < fit.intervals[:, 1]).all()
    assert fit.bootstrap_intervals.shape == (game.n, 2)
    # Bootstrap and sandwich estimate one thing.
    np.testing.assert_allclose(fit.bootstrap_standard_errors, fit.standard_errors, rtol=0.5)
    np.testing.assert_allclose(fit.predict(masks), -1.0 + masks @ fit.values, atol=1e-12)


def test_several_runs_of_an_end_count_by_their_mean(game):
    masks, utilities = observed(game, "shapley", 80)
    one = tribute.shapley(masks, utilities, 2.0, -1.0, bootstrap=0)
    runs = tribute.shapley(masks, utilities, [1.5, 2.5], [-1.0], bootstrap=0)
    np.testing.assert_allclose(runs.values, one.values, atol=1e-12)
    assert (runs.standard_errors > one.standard_errors).all()
    assert one.bootstrap_intervals is None


def test_enumerated_coalitions_give_the_exact_values(game, shapley_by_permutations):
    utilities = game.utility(game.every)
    exact = tribute.exact_shapley(utilities)
    np.testing.assert_allclose(exact, shapley_by_permutations, atol=1e-12)
    fit = tribute.shapley(
        game.every, utilities, utilities[-1], utilities[0], weighting="shapley_kernel", bootstrap=0
    )
    np.testing.assert_allclose(fit.values, shapley_by_permutations, atol=1e-10)


def test_exact_values_are_those_of_shap(game):
    shap = pytest.importorskip("shap")
    explainer = shap.KernelExplainer(game.utility, np.zeros((1, game.n)))
    theirs = explainer.shap_values(np.ones((1, game.n)), nsamples=2**game.n, l1_reg=False, silent=True)
    np.testing.assert_allclose(tribute.exact_shapley(game.utility(game.every)), np.ravel(theirs), atol=1e-6)


def test_size_adjustment_takes_the_step_from_nobody_out(game, shapley_by_permutations):
    masks = tribute.draw("shapley", game.n, 200, seed=9)
    jump = np.where(masks.any(axis=1), 0.0, 50.0)
    utilities = game.utility(masks) + jump
    ends = game.utility(game.every[[0, -1]])
    expected = shapley_by_permutations - 50.0 / game.n
    error = {}
    for adjusted in [False, True]:
        fit = tribute.shapley(
            masks, utilities, ends[1], ends[0] + 50.0, size_adjusted=adjusted, bootstrap=0
        )
        error[adjusted] = np.abs(fit.values - expected).max()
    assert error[True] < 0.5 and error[True] < error[False] / 3, error
    assert fit.size_effect.shape == (game.n + 1,)


def test_datamodel_is_ridge_cv(game):
    masks, utilities = observed(game, "datamodel", 60)
    ours = tribute.datamodel(masks, utilities)
    alphas = np.linspace(0.01, 10, 100)
    theirs = RidgeCV(alphas=alphas).fit(masks.astype(float), utilities)
    assert ours.alpha == pytest.approx(theirs.alpha_, rel=1e-12)
    np.testing.assert_allclose(ours.values, theirs.coef_, atol=1e-9)
    assert ours.intercept == pytest.approx(theirs.intercept_, abs=1e-9)
    fixed = tribute.datamodel(masks, utilities, alphas=[0.7])
    assert fixed.alpha == 0.7 and fixed.leave_one_out_error > 0
    assert fixed.intervals is None


def test_banzhaf_is_least_squares_with_hc3(game):
    masks, utilities = observed(game, "uniform", 70)
    ours = tribute.banzhaf(masks, utilities)
    x = masks.astype(float)
    theirs = LinearRegression().fit(x, utilities)
    np.testing.assert_allclose(ours.values, theirs.coef_, atol=1e-12)
    assert ours.intercept == pytest.approx(theirs.intercept_, abs=1e-12)
    design = np.column_stack([np.ones(len(x)), x])
    inverse = np.linalg.inv(design.T @ design)
    leverage = np.einsum("mi,ij,mj->m", design, inverse, design)
    residual = (utilities - theirs.predict(x)) / (1 - leverage)
    covariance = inverse @ (design.T * residual**2) @ design @ inverse
    np.testing.assert_allclose(ours.standard_errors, np.sqrt(np.diag(covariance))[1:], rtol=1e-9)
    exact = tribute.exact_banzhaf(game.utility(game.every))
    every = tribute.banzhaf(game.every, game.utility(game.every))
    np.testing.assert_allclose(every.values, exact, atol=1e-12)


def test_banzhaf_by_sample_reuse_is_a_difference_of_means(game):
    masks, utilities = observed(game, "uniform", 70)
    ours = tribute.banzhaf(masks, utilities, sample_reuse=True)
    expected = [utilities[masks[:, i]].mean() - utilities[~masks[:, i]].mean() for i in range(game.n)]
    np.testing.assert_allclose(ours.values, expected, atol=1e-12)


def test_lasso_is_lasso_cv(game):
    masks, utilities = observed(game, "datamodel", 60)
    ours = tribute.lasso(masks, utilities, bootstrap=0)
    theirs = LassoCV(cv=5, tol=1e-10, max_iter=100_000).fit(masks.astype(float), utilities)
    assert ours.alpha == pytest.approx(theirs.alpha_, rel=1e-9)
    np.testing.assert_allclose(ours.values, theirs.coef_, atol=1e-6)
    assert ours.intervals is None


ESTIMATORS = [
    "kernel_shap",
    "kernel_shap_size_adjusted",
    "permutation",
    "sample_reuse",
    "regression_adjusted",
    "tree_adjusted",
    "exact_shapley",
]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("distribution", ["leverage_paired", "permutation_antithetic"])
def test_every_shapley_estimator_finds_the_values(game, shapley_by_permutations, estimator, distribution):
    masks = tribute.draw(distribution, game.n, 1000, seed=1)
    ends = game.utility(game.every[[0, -1]])
    arguments = (estimator, masks, game.utility(masks), ends[1], ends[0])
    accepted = estimator == "exact_shapley" or (estimator == "permutation") == (distribution[0] == "p")
    if not accepted:
        with pytest.raises(ValueError, match="does not estimate from"):
            tribute.fit(*arguments, distribution=distribution)
        return
    fit = tribute.fit(*arguments, distribution=distribution, bootstrap=0)
    assert fit.estimator == estimator
    np.testing.assert_allclose(fit.values, shapley_by_permutations, atol=0.3)
    with pytest.raises(ValueError, match="is no estimator.*tree_adjusted"):
        tribute.fit("kernelshap", *arguments[1:])


def test_one_out_and_one_in(game):
    every = game.utility(game.every)
    ones = np.eye(game.n, dtype=int)
    loo = tribute.leave_one_out(1 - ones, game.utility(1 - ones), every[-1])
    np.testing.assert_allclose(loo.values, every[-1] - game.utility(1 - ones), atol=1e-12)
    aoi = tribute.add_one_in(ones, game.utility(ones), every[0])
    np.testing.assert_allclose(aoi.values, game.utility(ones) - every[0], atol=1e-12)
    assert loo.intervals is None


def test_too_few_coalitions_are_said_not_hidden():
    masks = [[1, 0, 0, 0], [0, 1, 0, 0]]
    fit = tribute.shapley(masks, [1.0, 2.0], 4.0, 0.0)
    assert fit.pseudo_inverse and fit.rank < fit.full_rank and fit.unidentified
    assert np.isinf(fit.intervals).all()
    assert any("Add coalitions" in warning for warning in fit.warnings)
    assert fit.values.sum() == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("masks", "utilities", "part"),
    [
        ([[0, 2], [1, 0]], [1.0, 2.0], r"masks\[0, 1\] is 2"),
        ([[0, 1], [1, 0]], [1.0], "2 masks and 1 utilities"),
        ([0, 1], [1.0, 2.0], r"\[coalitions, contributors\]"),
        ([[0, 1], [1, 0]], [1.0, np.nan], "finite"),
        ([[0, 1], [1, 0]], [[1.0], [2.0]], "one dimension"),
        ([["a", "b"]], [1.0], "array of numbers"),
        (np.zeros((0, 3)), [], "at least one"),
    ],
)
def test_bad_input_is_a_value_error(masks, utilities, part):
    with pytest.raises(ValueError, match=part):
        tribute.shapley(masks, utilities, 1.0, 0.0)


def test_bad_settings_are_value_errors():
    masks, utilities = [[0, 1], [1, 0]], [1.0, 2.0]
    with pytest.raises(ValueError, match="as_drawn"):
        tribute.shapley(masks, utilities, 1.0, 0.0, weighting="even")
    with pytest.raises(ValueError, match="confidence level"):
        tribute.shapley(masks, utilities, 1.0, 0.0, level=1.0)
    with pytest.raises(ValueError, match="positive"):
        tribute.datamodel(masks, utilities, alphas=[-1.0])
    with pytest.raises(ValueError, match="missing for contributors"):
        tribute.leave_one_out([[0, 1]], [1.0], 2.0)
    with pytest.raises(ValueError, match="2\\^n"):
        tribute.exact_shapley([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="of 3 contributors, the scores of 2"):
        tribute.banzhaf(masks, utilities).predict([[0, 1, 1]])
    with pytest.raises(OverflowError):
        tribute.shapley(masks, utilities, 1.0, 0.0, seed=-1)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, np.float64])
def test_masks_of_any_kind(game, dtype):
    masks, utilities = observed(game, "shapley", 40)
    fit = tribute.shapley(masks.astype(dtype), utilities, 2.0, 0.0, bootstrap=0)
    expected = tribute.shapley(masks, utilities, 2.0, 0.0, bootstrap=0)
    np.testing.assert_array_equal(fit.values, expected.values)
    # Strided and Fortran-ordered arrays, too.
    np.testing.assert_array_equal(
        tribute.shapley(np.asfortranarray(masks.astype(dtype)), utilities, 2.0, 0.0, bootstrap=0).values, fit.values
    )
