"""Predictors: features of configurations, and regressors that know how far they may be off."""

from edgenas.predict.features import Features
from edgenas.predict.regressors import Regressor, make_regressor, register_regressor, regressors

__all__ = ["Features", "Regressor", "make_regressor", "register_regressor", "regressors"]
