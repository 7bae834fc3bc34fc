"""The README's file map is whole and says what the files say."""

import ast
from pathlib import Path

import pytest
from tools.file_map import with_map

from tests.support.paths import ROOT


def first_lines() -> dict[str, str]:
    """Path → first docstring line, as the map should have them."""
    found = {}
    for path in (ROOT / "refit_rt").rglob("*.py"):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        name = str(path.relative_to(ROOT).as_posix())
        if path.name != "__init__.py":
            assert docstring, f"{name} does not say what it is"
            found[name] = docstring.splitlines()[0]
        elif docstring:
            found[name.removesuffix("__init__.py")] = docstring.splitlines()[0]
    return found


def test_the_file_map_lists_every_file_with_its_first_line():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("\n## File map\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    listed = dict(row.removeprefix("| `").removesuffix(" |").split("` | ", 1) for row in rows)
    assert len(listed) == len(rows)
    assert listed == first_lines(), "run python -m tools.file_map"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A root with a package of one file, and a subpackage that says nothing."""
    (tmp_path / "refit_rt/quiet").mkdir(parents=True)
    (tmp_path / "refit_rt/__init__.py").write_text('"""All of it."""\n')
    (tmp_path / "refit_rt/one.py").write_text('"""One | two.\n\nMore.\n"""\n')
    (tmp_path / "refit_rt/quiet/__init__.py").write_text("")
    return tmp_path


TABLE = r"""## File map
| file | what it is |
|---|---|
| `refit_rt/` | All of it. |
| `refit_rt/one.py` | One \| two. |
"""


def test_the_map_is_put_at_the_end_of_a_readme_without_one(package: Path):
    assert with_map("# Name\n\ntext\n", package) == f"# Name\n\ntext\n\n{TABLE}"


def test_an_old_map_is_replaced_and_the_text_around_it_kept(package: Path):
    fresh = with_map("# Name\n\n## File map\n| old | row |\n\n## After\ntext\n", package)
    assert fresh == f"# Name\n\n{TABLE}\n## After\ntext\n"
    assert with_map(fresh, package) == fresh
