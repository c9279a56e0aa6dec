"""The Python in README.md and in docs/ runs, from the top of each page to its bottom."""

import os
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import sksae

ROOT = Path(__file__).resolve().parents[1]
# A block whose packages may be missing has a line <!-- needs: name name --> before it.
BLOCK = re.compile(r"(?:^<!-- needs: ([\w ]+) -->\n)?^```python\n(.*?)^```$", re.M | re.S)
PAGES = [
    page.relative_to(ROOT).as_posix()
    for page in (
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "docs").glob("[!_]*/*.md")),
    )
    if page.is_file() and BLOCK.search(page.read_text(encoding="utf-8"))
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:.*optuna.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:OptunaSearchCV is experimental")
@pytest.mark.usefixtures("private_ray")
@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as where a script is in its folder
    # ray's workers do not look for modules where this process does.
    path = [str(Path(sksae.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    text = (ROOT / page).read_text(encoding="utf-8")
    missing = set()
    # In __main__, as in a script, so that workers are sent what is defined here.
    names = {"__name__": "__main__"}
    for block in BLOCK.finditer(text):
        needed = (block[1] or "").split()
        if not all(map(find_spec, needed)):
            missing.update(name for name in needed if not find_spec(name))
            continue
        above = text[: block.start(2)].count("\n")
        exec(compile("\n" * above + block[2], str(ROOT / page), "exec"), names)
    if missing:
        pytest.skip(f"all ran but the blocks that need {', '.join(sorted(missing))}")
