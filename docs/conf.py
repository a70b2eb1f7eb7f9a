"""How Sphinx builds this documentation: ``sphinx-build -W --keep-going -n docs build/docs``.

Nothing here downloads anything, and the built site uses no network: it can be read from a disk.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent)]

import minibiogpt  # noqa: E402  (from this tree, whatever is installed)

project = "minibiogpt"
author = "The minibiogpt authors"
copyright = f"{author}, MIT license"
version = release = minibiogpt.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_nb",
    "sphinx_copybutton",
    "mathml",  # these seven are in _ext
    "alts",
    "live",
    "pages",
    "clauses",
    "generated",
    "source_links",
]
exclude_patterns = ["_build", "_ext"]
nitpicky = True
# Types ("Array", "Any") are shown as text, not as links: the description beside them says what they mean.
suppress_warnings = ["config.cache", "ref.python"]
nitpick_ignore_regex = [("py:.*", ".*")]

# Markdown
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

# Notebooks are committed with their outputs, which tests reproduce. Widgets need scripts from a network, so the HTML or
# text output beside them is shown instead.
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
nb_mime_priority_overrides = [
    ("html", "application/vnd.jupyter.widget-view+json", None),
    ("html", "application/javascript", None),
]
nb_merge_streams = True
copybutton_selector = "div:not(.output) > div.highlight pre"  # code, not what it printed
copybutton_exclude = ".linenos, .gp, .go"

# The reference, from docstrings
add_module_names = False
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "no-value": True, "ignore-module-all": True}
autodoc_typehints_format = "short"
autodoc_mock_imports = [name for name in ("cupy", "matplotlib", "ipywidgets") if find_spec(name) is None]
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Shapes", "Source"]
python_maximum_signature_line_length = 100

# The pages
html_theme = "furo"
html_title = "minibiogpt"
pygments_style = "default"
pygments_dark_style = "github-dark"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["frames.js"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#0b5c8a", "color-brand-content": "#0b5c8a"},
    "dark_css_variables": {"color-brand-primary": "#7cc4ee", "color-brand-content": "#7cc4ee"},
}


def escape_bars(app, what, name, obj, options, lines) -> None:  # type: ignore[no-untyped-def]
    """|x| in a docstring is an absolute value, not a substitution of reStructuredText."""
    lines[:] = ["``".join(x if i % 2 else x.replace("|", "\\|") for i, x in enumerate(y.split("``"))) for y in lines]


def setup(app) -> None:  # type: ignore[no-untyped-def]
    app.connect("autodoc-process-docstring", escape_bars)
