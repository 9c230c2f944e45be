"""The program that runs on a board: it receives artifacts, times them and keeps releases. Standard library only."""

__version__ = "0.1.0"
