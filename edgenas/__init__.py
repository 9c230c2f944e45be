"""edgenas: the best sub-network for each board in your lab, measured on the board and running on it."""

__version__ = "0.1.0"
