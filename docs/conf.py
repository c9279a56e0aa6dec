"""How the site is built: Markdown pages, docstrings, and the examples as a gallery."""

import os
import re
import shutil
import sys
from importlib.metadata import version as version_of
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
# Examples import what stands beside them.
sys.path.insert(0, str(ROOT / "examples"))
os.environ.setdefault("MPLBACKEND", "Agg")

project, author = "sksae", "sksae developers"
copyright = "sksae developers, BSD-3-Clause"
release = version = version_of("sksae")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_examples", "gallery.rst", "sg_execution_times.rst"]
default_role = "py:obj"

# --- pages -----------------------------------------------------------------------------------

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

# --- reference -------------------------------------------------------------------------------

autosummary_generate = True
autodoc_typehints = "none"  # docstrings say them, with shapes and ranges
# What scikit-learn gives to all estimators is told in its own docs, of which nothing is fetched.
autodoc_default_options = {
    "members": True,
    "inherited-members": ",".join(
        (
            "BaseEstimator",
            "BaseSearchCV",
            "ClassifierMixin",
            "GridSearchCV",
            "RandomizedSearchCV",
            "RegressorMixin",
            "TransformerMixin",
        )
    ),
    "exclude-members": ",".join(
        [f"set_{name}_request" for name in ("fit", "partial_fit", "score", "transform")]
        + ["get_metadata_routing", "get_feature_names_out", "set_callbacks", "set_output"]
    ),
}
numpydoc_show_class_members = False
# Of attributes that scikit-learn's classes compute, a word in its glossary.
suppress_warnings = ["ref.term"]
numpydoc_xref_param_type = False

# --- gallery ---------------------------------------------------------------------------------

# The gallery takes each folder below the examples for a part of it; the benchmarks are none.
GALLERY = DOCS / "_examples"
shutil.rmtree(GALLERY, ignore_errors=True)
shutil.copytree(ROOT / "examples", GALLERY, ignore=shutil.ignore_patterns("benchmarks", "*.md"))
shutil.copy(DOCS / "gallery.rst", GALLERY / "GALLERY_HEADER.rst")
for script in GALLERY.glob("[!_]*.py"):
    # What an example looks like is known without running it.
    with script.open("a", encoding="utf-8") as file:
        file.write(f'\n# sphinx_gallery_thumbnail_path = "images/{script.stem}.png"\n')
sphinx_gallery_conf = {
    "examples_dirs": [str(GALLERY)],
    "gallery_dirs": ["auto_examples"],
    # One needs Ray, which is three times as large as all else that the site needs.
    "filename_pattern": r"/(?!fit_on_ray)[a-z]\w*\.py$",
    "ignore_pattern": r"^_",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "abort_on_example_error": True,
    "remove_config_comments": True,
}
# The quick build shows examples, and runs none.
plot_gallery = str(os.environ.get("SKSAE_GALLERY") == "run")


# Where the site has what lies outside of docs/: pages are read beside it too.
OUTSIDE = {
    r"examples/(\w+)\.py": r"auto_examples/\1.rst",
    r"README\.md": "install.md",
    r"SECURITY\.md": "security.md",
    r"CHANGELOG\.md": "changelog.md",
}


def link_within(app, name, lines):
    """Lead links of a page to files outside of docs/ to their places on the site.

    A link that is called as the file gets the title of the page.
    """
    up = "../" * name.count("/")
    lines[0] = re.sub(r"\[(\w+\.md)\](\((?:\.\./)*(?:\w+/)*\1)", r"[]\2", lines[0])
    for path, place in OUTSIDE.items():
        lines[0] = re.sub(rf"\]\((?:\.\./)+{path}\)", f"]({up}{place})", lines[0])


def setup(app):
    app.connect("source-read", link_within)


# --- looks -----------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_static_path, html_css_files = ["_static"], ["site.css"]
templates_path = ["_templates"]
toc_object_entries_show_parents = "hide"
html_title = "sksae"
html_theme_options = {
    "show_prev_next": True,
    "navigation_with_keys": True,
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_show_sourcelink = False
