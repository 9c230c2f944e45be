"""Any torch CNN or transformer as a super-network, by declaration.

The idea that a super-network can come from a trained model: BootstrapNAS, https://arxiv.org/abs/2112.10878, and
InstaTune, https://arxiv.org/abs/2308.15609. Groups of channels that have to agree: DepGraph,
https://arxiv.org/abs/2301.12900.
"""

from edgenas.supernets.elasticize.declaration import elasticize
from edgenas.supernets.elasticize.network import ElasticizedNetwork
from edgenas.supernets.elasticize.report import Report

__all__ = ["ElasticizedNetwork", "Report", "elasticize"]
