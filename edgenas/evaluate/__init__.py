"""What sub-networks are worth on data: accuracy and other metrics, of one or many, here or on a Ray cluster."""

from edgenas.evaluate.accuracy import BATCH_SIZE, AccuracyEvaluator, accuracy, predictions
from edgenas.evaluate.cluster import JudgeSettings, evaluate_on_ray
from edgenas.evaluate.judges import ImageJudge, Judge, TranslationJudge
from edgenas.evaluate.many import Row, evaluate_many
from edgenas.evaluate.metrics import Metric, make_metric, metrics, register_metric

__all__ = [
    "BATCH_SIZE",
    "AccuracyEvaluator",
    "ImageJudge",
    "Judge",
    "JudgeSettings",
    "Metric",
    "Row",
    "TranslationJudge",
    "accuracy",
    "evaluate_many",
    "evaluate_on_ray",
    "make_metric",
    "metrics",
    "predictions",
    "register_metric",
]
