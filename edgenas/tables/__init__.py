"""Latency tables: times of the layers of a search space on a board, from few artifacts."""

from edgenas.tables.chains import Chain, Sample, batches, chain
from edgenas.tables.decomposition import Decomposition, Slopes, decompose
from edgenas.tables.layers import LayerType, Placed, counts_of, placed_layers
from edgenas.tables.survey import Survey
from edgenas.tables.table import Entry, LatencyTable

__all__ = [
    "Chain",
    "Decomposition",
    "Entry",
    "LatencyTable",
    "LayerType",
    "Placed",
    "Sample",
    "Slopes",
    "Survey",
    "batches",
    "chain",
    "counts_of",
    "decompose",
    "placed_layers",
]
