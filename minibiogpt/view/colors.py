"""Colormaps of all pages, as evenly spaced anchor colors; the pages interpolate linearly between them.

Lightness changes monotonically along the sequential map, and from the middle outward along the diverging maps, so
lightness alone shows magnitude. Orange and purple show the sign; readers with red-green color blindness can tell them
apart. Without color, the number beside the picture shows the sign.

Source: "cividis" (Nuñez, Anderton and Renslow 2018) and "PuOr" (ColorBrewer) as in matplotlib. The diverging map for
dark pages has the hues of PuOr with a dark middle, so that 0 recedes into the background as it does on a light page.
"""

SEQUENTIAL = [
    "#00224e", "#002e6a", "#1a386f", "#32436d", "#434e6c", "#535a6d", "#61656f", "#6f7073", "#7d7c78", "#8c8878",
    "#9b9476", "#aba072", "#bcae6c", "#cdbb63", "#dec958", "#f0d846", "#fee838",
]  # fmt: skip
"""For arrays that are never negative, such as probabilities: 0 is dark."""
DIVERGING = [
    "#7f3b08", "#a04d07", "#be630a", "#db7d12", "#ef9e3c", "#fdbd6e", "#fed7a2", "#fbe9cf", "#f6f6f7", "#e3e4ef",
    "#cecde4", "#b6b0d4", "#988dbe", "#7967a6", "#5d3790", "#44176f", "#2d004b",
]  # fmt: skip
"""For arrays with both signs: orange below 0, purple above, 0 in the middle."""
DIVERGING_DARK = [
    "#ffe3bd", "#f8c27f", "#ea9f45", "#cb7a1d", "#9c590f", "#6a3d0c", "#442b12", "#1f2024", "#2f2948", "#44376f",
    "#64529e", "#8a79cb", "#aa9de2", "#c9bff2", "#e9e4ff",
]  # fmt: skip
"""DIVERGING for dark pages."""

PALETTES = {"sequential": SEQUENTIAL, "signed": DIVERGING, "signedDark": DIVERGING_DARK}
