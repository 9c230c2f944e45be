"""Predictors: features of configurations, and regressors that know how far they may be off."""

from edgenas.predict import additive as _additive  # each registers its regressor
from edgenas.predict import boosting as _boosting
from edgenas.predict.features import Features
from edgenas.predict.gaussian_process import GaussianProcess
from edgenas.predict.planning import choose_measurements
from edgenas.predict.predictor import Predictor, fit_predictor, fit_transfer
from edgenas.predict.regressors import Regressor, make_regressor, register_regressor, regressors

del _additive, _boosting

__all__ = [
    "Features",
    "GaussianProcess",
    "Predictor",
    "Regressor",
    "choose_measurements",
    "fit_predictor",
    "fit_transfer",
    "make_regressor",
    "register_regressor",
    "regressors",
]
