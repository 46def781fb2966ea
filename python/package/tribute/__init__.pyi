from collections.abc import Sequence
from os import PathLike
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__version__: str

_Distribution = Literal[
    "shapley",
    "shapley_paired",
    "leverage",
    "leverage_paired",
    "permutation",
    "permutation_antithetic",
    "datamodel",
    "uniform",
    "loo",
    "add_one_in",
]
_Estimator = Literal[
    "kernel_shap",
    "kernel_shap_size_adjusted",
    "permutation",
    "sample_reuse",
    "regression_adjusted",
    "tree_adjusted",
    "beta_shapley",
    "banzhaf",
    "banzhaf_sample_reuse",
    "datamodel",
    "lasso",
    "leave_one_out",
    "add_one_in",
    "exact_shapley",
    "exact_banzhaf",
]

class Attribution:
    @property
    def estimator(self) -> str: ...
    @property
    def values(self) -> NDArray[np.float64]: ...
    @property
    def intercept(self) -> float: ...
    @property
    def size_effect(self) -> NDArray[np.float64]: ...
    @property
    def intervals(self) -> NDArray[np.float64] | None: ...
    @property
    def bootstrap_intervals(self) -> NDArray[np.float64] | None: ...
    @property
    def standard_errors(self) -> NDArray[np.float64] | None: ...
    @property
    def bootstrap_standard_errors(self) -> NDArray[np.float64] | None: ...
    @property
    def rank(self) -> int: ...
    @property
    def full_rank(self) -> int: ...
    @property
    def pseudo_inverse(self) -> bool: ...
    @property
    def unidentified(self) -> list[int]: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def alpha(self) -> float | None: ...
    @property
    def leave_one_out_error(self) -> float | None: ...
    def predict(self, masks: ArrayLike) -> NDArray[np.float64]: ...

class Lds:
    @property
    def mean(self) -> float: ...
    @property
    def sets(self) -> NDArray[np.float64]: ...
    @property
    def half_width(self) -> float | None: ...
    @property
    def interval(self) -> tuple[float, float]: ...
    @property
    def level(self) -> float: ...
    @property
    def standard_error(self) -> float | None: ...
    @property
    def coalitions(self) -> int: ...

class LdsDifference:
    @property
    def mean(self) -> float: ...
    @property
    def interval(self) -> tuple[float, float]: ...
    @property
    def level(self) -> float: ...

class NoiseCeiling:
    @property
    def seeds(self) -> int: ...
    @property
    def coalitions(self) -> int: ...
    @property
    def between_retrainings(self) -> float: ...
    @property
    def interval(self) -> tuple[float, float]: ...
    @property
    def attainable(self) -> float: ...
    @property
    def attainable_interval(self) -> tuple[float, float]: ...
    @property
    def mean_of_seeds(self) -> float: ...
    @property
    def attainable_by_mean(self) -> float: ...
    @property
    def level(self) -> float: ...

def shapley(
    masks: ArrayLike,
    utilities: ArrayLike,
    full: ArrayLike,
    none: ArrayLike,
    *,
    weighting: Literal["as_drawn", "shapley_kernel"] = "as_drawn",
    size_adjusted: bool = False,
    level: float = 0.95,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Attribution: ...
def datamodel(
    masks: ArrayLike, utilities: ArrayLike, *, alphas: Sequence[float] | NDArray[np.float64] | None = None
) -> Attribution: ...
def lasso(
    masks: ArrayLike,
    utilities: ArrayLike,
    *,
    alphas: Sequence[float] | NDArray[np.float64] | None = None,
    level: float = 0.95,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Attribution: ...
def banzhaf(
    masks: ArrayLike, utilities: ArrayLike, *, sample_reuse: bool = False, level: float = 0.95
) -> Attribution: ...
def fit(
    estimator: _Estimator,
    masks: ArrayLike,
    utilities: ArrayLike,
    full: ArrayLike,
    none: ArrayLike,
    *,
    distribution: _Distribution | None = None,
    beta: tuple[float, float] | None = None,
    level: float = 0.95,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Attribution: ...
def leave_one_out(
    masks: ArrayLike, utilities: ArrayLike, full: ArrayLike, none: ArrayLike = 0.0, *, level: float = 0.95
) -> Attribution: ...
def add_one_in(
    masks: ArrayLike, utilities: ArrayLike, none: ArrayLike, full: ArrayLike = 0.0, *, level: float = 0.95
) -> Attribution: ...
def exact_shapley(utilities: ArrayLike) -> NDArray[np.float64]: ...
def exact_banzhaf(utilities: ArrayLike) -> NDArray[np.float64]: ...
def lds(
    scores: Attribution | ArrayLike,
    masks: ArrayLike,
    utilities: ArrayLike,
    *,
    level: float = 0.95,
    bootstrap: int = 1000,
    seed: int = 0,
) -> Lds: ...
def lds_difference(
    first: Attribution | ArrayLike,
    second: Attribution | ArrayLike,
    masks: ArrayLike,
    utilities: ArrayLike,
    *,
    level: float = 0.95,
    bootstrap: int = 1000,
    seed: int = 0,
) -> LdsDifference: ...
def noise_ceiling(
    masks: ArrayLike, utilities: ArrayLike, *, level: float = 0.95, bootstrap: int = 1000, seed: int = 0
) -> NoiseCeiling: ...
def spearman(predicted: ArrayLike, utilities: ArrayLike) -> float: ...
def draw(
    distribution: _Distribution,
    contributors: int,
    count: int,
    *,
    alpha: float = 0.5,
    seed: int = 0,
) -> NDArray[np.bool_]: ...

# A `diffusers.UNet2DModel` and a `DDIMPipeline` or `DDPMPipeline`; the package does without diffusers otherwise.
def load_unet(folder: str | PathLike[str], *, averaged: bool = True) -> Any: ...
def load_pipeline(
    folder: str | PathLike[str], *, averaged: bool = True, kind: Literal["ddim", "ddpm"] = "ddim"
) -> Any: ...
