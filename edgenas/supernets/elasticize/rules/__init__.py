"""What each operation of torch does to channels, one function each; importing this package registers them."""

from edgenas.supernets.elasticize.rules import elementwise, layers, products, reductions, shapes  # noqa: F401
