"""Colours: the two maps of every picture as anchors, evenly spaced, between which a page mixes in a straight line.

Each grows steadily lighter, or darker, from an end (of the signed ones: from the middle) on, so that how large a number
is can be told by lightness alone. Its sign is told by orange or purple, which are not confused by readers who cannot
tell red from green; without any colour the sign is in the number beside the picture.

Source: "cividis" (Nuñez, Anderton and Renslow 2018) and "PuOr" (ColorBrewer) as matplotlib has them; the signed map for
dark pages has PuOr's hues with a dark middle, so that 0 recedes there as it does on paper.
"""

SEQUENTIAL = [
    "#00224e", "#002e6a", "#1a386f", "#32436d", "#434e6c", "#535a6d", "#61656f", "#6f7073", "#7d7c78", "#8c8878",
    "#9b9476", "#aba072", "#bcae6c", "#cdbb63", "#dec958", "#f0d846", "#fee838",
]  # fmt: skip
"""Of what is never negative, such as probabilities: dark is none."""
SIGNED = [
    "#7f3b08", "#a04d07", "#be630a", "#db7d12", "#ef9e3c", "#fdbd6e", "#fed7a2", "#fbe9cf", "#f6f6f7", "#e3e4ef",
    "#cecde4", "#b6b0d4", "#988dbe", "#7967a6", "#5d3790", "#44176f", "#2d004b",
]  # fmt: skip
"""Of what has both signs: orange below 0, purple above, 0 in the middle."""
SIGNED_DARK = [
    "#ffe3bd", "#f8c27f", "#ea9f45", "#cb7a1d", "#9c590f", "#6a3d0c", "#442b12", "#1f2024", "#2f2948", "#44376f",
    "#64529e", "#8a79cb", "#aa9de2", "#c9bff2", "#e9e4ff",
]  # fmt: skip
"""The same for dark pages."""

PALETTES = {"sequential": SEQUENTIAL, "signed": SIGNED, "signedDark": SIGNED_DARK}
