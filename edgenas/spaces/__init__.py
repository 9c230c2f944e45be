"""Search spaces: choices, configurations, encodings. NumPy only."""

from edgenas.spaces.choice import Choice, Config, Value
from edgenas.spaces.space import SearchSpace

__all__ = ["Choice", "Config", "SearchSpace", "Value"]
