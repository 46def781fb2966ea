"""A game with interactions, and its coalitions."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest


@pytest.fixture
def game():
    """Six contributors: additive, with every pair interacting; `noisy` adds training noise."""
    n = 6
    rng = np.random.default_rng(5)
    linear, pair = rng.normal(size=n), np.triu(rng.normal(size=(n, n)), 1)

    def utility(masks):
        masks = np.asarray(masks, dtype=float)
        return 1.5 + masks @ linear + np.einsum("mi,ij,mj->m", masks, pair, masks)

    # Bit i of the index is contributor i, as `exact_shapley` wants it.
    every = np.array([[index >> i & 1 for i in range(n)] for index in range(2**n)])
    return SimpleNamespace(n=n, utility=utility, every=every, rng=rng)


@pytest.fixture
def shapley_by_permutations(game):
    """The definition: the mean of what each one adds, over all orders."""
    total = np.zeros(game.n)
    orders = list(itertools.permutations(range(game.n)))
    values = dict(zip(map(tuple, game.every), game.utility(game.every)))
    for order in orders:
        mask = [0] * game.n
        before = values[tuple(mask)]
        for i in order:
            mask[i] = 1
            after = values[tuple(mask)]
            total[i] += after - before
            before = after
    return total / len(orders)
