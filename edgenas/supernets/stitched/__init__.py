"""Stitchable networks: trained anchors of one family and the layers between them, as a super-network.

Source: Stitchable Neural Networks, https://arxiv.org/abs/2302.06586.
"""

from edgenas.supernets.stitched.network import StitchedNetwork, stitch

__all__ = ["StitchedNetwork", "stitch"]
