"""How Sphinx builds the documentation: `make docs`."""

from importlib.metadata import version as version_of

project = "Belayed"
author = "The Belayed authors"
copyright = "2026, The Belayed authors"
release = version = version_of("belayed")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist"]
# Links to headings (`page.md#heading`) are checked for this many levels.
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 100
# In docstrings: `code`.
default_role = "code"

nitpicky = True
# Types in signatures are of modules that are not documented as such, and of the standard library.
nitpick_ignore_regex = [("py:.*", ".*")]

html_theme = "furo"
html_title = "Belayed"
