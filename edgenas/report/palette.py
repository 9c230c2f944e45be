"""Colours of the figures: the light ones stand in the figures themselves, and the page swaps them when it is dark."""

from __future__ import annotations

INK = "#20242b"
MUTED = "#626a76"
RULE = "#e4e6ea"
PAPER = "#ffffff"
FADED = "#aab1bc"
FRONT = "#1c5fa8"
PICK = "#c2410c"
BOUND = "#9a3a52"

#: Light colour to dark colour; the style sheet has the same pairs for the rest of the page.
DARK: dict[str, str] = {
    INK: "#e6e8ec",
    MUTED: "#9ba4b1",
    RULE: "#2c3138",
    PAPER: "#15181c",
    FADED: "#6f7885",
    FRONT: "#79b4f2",
    PICK: "#ff9a62",
    BOUND: "#ec8fa6",
}
