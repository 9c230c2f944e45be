"""Zero-cost scores of sub-networks, as cheap objectives and as features of predictors."""

from edgenas.predict.scores import counts, gradients, synflow  # noqa: F401  (they register themselves)
from edgenas.predict.scores.base import Score, compute_scores, register_score, scores

__all__ = ["Score", "compute_scores", "register_score", "scores"]
