"""The error of Shapley estimators against the number of evaluations: ours beside pyDVL's and shap's, on the same games.

    pip install pydvl shap matplotlib
    cargo run --release -p attribution-lds --example convergence > target/convergence.json
    python benches/side_by_side/convergence.py target/convergence.json --svg docs/src/images/convergence.svg --table target/convergence.md

The first program plays the games with our estimators and prints their utilities, which this one then plays with the
others. An evaluation is one look at the utility of a coalition, v(all) and v(none) among them (once each, also where a
library asks again); those that libraries really made are counted, and that is where the figure places them.
"""

import argparse
import json
import math

import matplotlib
import numpy as np
import shap
from pydvl.valuation.games import DummyGameDataset
from pydvl.valuation.methods.shapley import ShapleyValuation
from pydvl.valuation.samplers import AntitheticPermutationSampler, PermutationSampler
from pydvl.valuation.stopping import MaxUpdates
from pydvl.valuation.utility.base import UtilityBase

matplotlib.use("svg")
import matplotlib.pyplot as plt

# What the figure shows: (label, colour, marker, dashed). The table has everything.
BLUE, SKY, NAVY, ORANGE, RED, GREEN, PURPLE, GREY = (
    "#0072b2", "#56b4e9", "#1b2a6b", "#e69f00", "#c0392b", "#009e73", "#9b3fa8", "#8a8a8a",
)
FIGURE = {
    "kernel_shap, shapley": ("kernel_shap, shapley draws", SKY, "o", False),
    "kernel_shap, leverage_paired": ("kernel_shap, leverage_paired", BLUE, "s", False),
    "kernel_shap_size_adjusted, shapley": ("kernel_shap_size_adjusted, shapley", NAVY, "D", False),
    "permutation, permutation_antithetic": ("permutation, antithetic", ORANGE, "o", False),
    "sample_reuse, leverage_paired": ("sample_reuse, leverage_paired", GREY, "o", False),
    "regression_adjusted, leverage_paired": ("regression_adjusted, leverage_paired", GREEN, "s", False),
    "tree_adjusted, leverage_paired": ("tree_adjusted, leverage_paired", PURPLE, "D", False),
    "shap, KernelExplainer": ("shap KernelExplainer", BLUE, "^", True),
    "shap, PermutationExplainer": ("shap PermutationExplainer", RED, "^", True),
    "pyDVL, PermutationSampler": ("pyDVL PermutationSampler", ORANGE, "v", True),
    "pyDVL, AntitheticPermutationSampler": ("pyDVL AntitheticPermutationSampler", RED, "v", True),
}


# Errors beyond this are those of a singular regression: of no size, and not drawn.
SINGULAR = 100.0


class TableGame:
    """A game by the table of its utilities, bit i of a row's number being contributor i. Counts evaluations."""

    def __init__(self, game, contributors, seed):
        self.n = contributors
        self.utilities = np.array(game["utilities"])
        self.noise_sd = game["noise_sd"]
        self.rng = np.random.default_rng(seed)
        self.ends = {}
        self.evaluations = 0

    def mask(self, mask):
        if mask in self.ends:
            return self.ends[mask]
        self.evaluations += 1
        value = float(self.utilities[mask] + self.noise_sd * self.rng.standard_normal())
        if mask in (0, len(self.utilities) - 1):
            self.ends[mask] = value
        return value

    def rows(self, rows):
        """The utilities of rows of 0 and 1, as shap asks for them."""
        return np.array([self.mask(int(sum(1 << i for i in np.flatnonzero(row)))) for row in np.asarray(rows)])


class TableUtility(UtilityBase):
    """The same as a pyDVL utility."""

    def __init__(self, game):
        self.game = game
        self._training_data = DummyGameDataset(game.n)

    def __call__(self, sample):
        members = [] if sample is None else sample.subset
        return self.game.mask(int(sum(1 << int(i) for i in members)))

    def with_dataset(self, data, copy=True):
        self._training_data = data
        return self


def kernel_explainer(game, budget, seed):
    np.random.seed(seed)
    explainer = shap.KernelExplainer(game.rows, np.zeros((1, game.n)))
    return explainer.shap_values(np.ones(game.n), nsamples=budget - 2, l1_reg=0, silent=True)


def permutation_explainer(game, budget, seed):
    # An order and its reverse cost 2 n + 1 by its own count, and 2 (n - 1) of them are neither end.
    pairs = (budget - 2) // (2 * (game.n - 1))
    explainer = shap.PermutationExplainer(game.rows, shap.maskers.Independent(np.zeros((1, game.n))), seed=seed)
    return explainer(np.ones((1, game.n)), max_evals=pairs * (2 * game.n + 1), silent=True).values[0]


def pydvl(sampler, orders_in_a_unit):
    def estimate(game, budget, seed):
        units = (budget - 2) // ((game.n - 1) * orders_in_a_unit)
        stop = MaxUpdates(units * orders_in_a_unit)
        valuation = ShapleyValuation(TableUtility(game), sampler(seed=seed), stop, show_warnings=False)
        return valuation.fit(DummyGameDataset(game.n)).result.values

    return estimate


OTHERS = {
    "shap, KernelExplainer": kernel_explainer,
    "shap, PermutationExplainer": permutation_explainer,
    "pyDVL, PermutationSampler": pydvl(PermutationSampler, 1),
    "pyDVL, AntitheticPermutationSampler": pydvl(AntitheticPermutationSampler, 2),
}


def measure(estimate, game, settings):
    exact = np.array(game["shapley"])
    points = []
    for budget in settings["budgets"]:
        errors, evaluations = [], []
        for seed in range(settings["seeds"]):
            table = TableGame(game, settings["contributors"], seed + 1000)
            values = np.asarray(estimate(table, budget, seed)).ravel()
            errors.append(np.linalg.norm(values - exact) / np.linalg.norm(exact))
            evaluations.append(table.evaluations)
        points.append({
            "budget": budget,
            "evaluations": float(np.mean(evaluations)),
            "error": float(np.mean(errors)),
            "standard_error": float(np.std(errors, ddof=1) / math.sqrt(len(errors))),
        })
    return points


def draw(games, budgets, series, path):
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "convergence", "font.size": 9, "font.family": "sans-serif"})
    figure, axes = plt.subplots(2, 2, figsize=(7.8, 7.4), layout="constrained")
    lines = []
    for axis, game in zip(axes.flat, games):
        for name, (label, colour, marker, dashed) in FIGURE.items():
            points = [point for point in series[game["name"], name] if point["error"] < SINGULAR]
            lines_of_panel = axis.errorbar(
                [point["evaluations"] for point in points],
                [point["error"] for point in points],
                [point["standard_error"] for point in points],
                color=colour, marker=marker, markersize=4, linewidth=1.3, elinewidth=0.7,
                linestyle=(0, (4, 2)) if dashed else "-", label=label,
                markerfacecolor="white" if dashed else colour,
            )
            if axis is axes.flat[0]:
                lines.append(lines_of_panel)
        axis.set_xlim(budgets[0] / 1.15, budgets[-1] * 1.15)
        axis.set(xscale="log", yscale="log", xticks=budgets, xticklabels=budgets, xlabel="evaluations", ylabel="relative error")
        axis.minorticks_off()
        ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2) if axis.get_ylim()[0] <= tick <= axis.get_ylim()[1]]
        axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        noise = f", noise {game['noise_sd']:g} an evaluation" if game["noise_sd"] else ""
        axis.set_title(game["name"].removeprefix("noisy ") + noise, fontsize=10, fontweight="bold")
        axis.grid(color="#e4e4e4", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    legend = axes.flat[3]
    legend.axis("off")
    legend.legend(handles=lines, loc="center left", frameon=False, handlelength=3.2, title="solid: Tribute; dashed: others", alignment="left")
    figure.savefig(path, metadata={"Date": None})


def table(games, budgets, series):
    out = []
    for game in games:
        rows = {name: {p["budget"]: p for p in points} for (of, name), points in series.items() if of == game["name"]}
        best = {b: min(row[b]["error"] for row in rows.values() if b in row) for b in budgets}
        noise = f", with noise of standard deviation {game['noise_sd']:g}" if game["noise_sd"] else ""
        out += [f"**{game['name'].removeprefix('noisy ')}{noise}**", ""]
        out += ["| estimator, draws | " + " | ".join(map(str, budgets)) + " |", "| --- |" + " ---: |" * len(budgets)]
        for name, row in rows.items():
            cells = []
            for budget in budgets:
                if budget not in row:
                    cells.append("")
                    continue
                text = f"{row[budget]['error']:.3f}" if row[budget]["error"] < SINGULAR else "singular"
                cells.append(f"**{text}**" if row[budget]["error"] == best[budget] else text)
            out.append(f"| {name} | " + " | ".join(cells) + " |")
        out.append("")
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours", help="what the example `convergence` printed")
    parser.add_argument("--svg", required=True)
    parser.add_argument("--table", required=True)
    arguments = parser.parse_args()
    with open(arguments.ours) as file:
        ours = json.load(file)
    series = {}
    for game in ours["games"]:
        for one in ours["series"]:
            if one["game"] == game["name"]:
                series[game["name"], f"{one['estimator']}, {one['draws']}"] = one["points"]
        for name, estimate in OTHERS.items():
            points = measure(estimate, game, ours)
            series[game["name"], name] = points
            print(game["name"], name, [point["evaluations"] for point in points], flush=True)
    draw(ours["games"], ours["budgets"], series, arguments.svg)
    with open(arguments.table, "w") as file:
        file.write(table(ours["games"], ours["budgets"], series))


if __name__ == "__main__":
    main()
