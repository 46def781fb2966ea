"""Data attribution over coalitions: masks and utilities in, scores out.

A game is n contributors and a utility v(S) of each coalition S of them. Masks are 0/1 arrays ``[m, n]``, one coalition a row;
utilities are ``[m]``.

===========================  =====================================================================
who contributed how much?    `shapley`, `datamodel`, `lasso`, `banzhaf`, `leave_one_out`, `add_one_in`,
                             and `fit` with any estimator by name
small games, exactly         `exact_shapley`, `exact_banzhaf`
do scores predict?           `lds`, `lds_difference`, `noise_ceiling`, `spearman`
which coalitions to try?     `draw`
a model in Python            `load_unet`, `load_pipeline`, which need torch and diffusers
===========================  =====================================================================
"""

from ._models import load_pipeline, load_unet
from ._tribute import (
    Attribution,
    Lds,
    LdsDifference,
    NoiseCeiling,
    __version__,
    add_one_in,
    banzhaf,
    datamodel,
    draw,
    exact_banzhaf,
    exact_shapley,
    fit,
    lasso,
    lds,
    lds_difference,
    leave_one_out,
    noise_ceiling,
    shapley,
    spearman,
)

__all__ = [
    "Attribution",
    "Lds",
    "LdsDifference",
    "NoiseCeiling",
    "__version__",
    "add_one_in",
    "banzhaf",
    "datamodel",
    "draw",
    "exact_banzhaf",
    "exact_shapley",
    "fit",
    "lasso",
    "lds",
    "lds_difference",
    "leave_one_out",
    "load_pipeline",
    "load_unet",
    "noise_ceiling",
    "shapley",
    "spearman",
]
