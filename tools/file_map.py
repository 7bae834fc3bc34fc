"""The file map of README.md, from the first docstring line of every file of refit_rt/: python -m tools.file_map"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEADING = "## File map"
SECTION = re.compile(rf"^{HEADING}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)


def rows(root: Path) -> list[str]:
    """A row a file of root/refit_rt, folder by folder; a package is its `__init__.py`, if that has a docstring."""
    paths = sorted((root / "refit_rt").rglob("*.py"), key=lambda path: (path.parent, path.name != "__init__.py", path))
    table = []
    for path in paths:
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        name = path.relative_to(root).as_posix().removesuffix("__init__.py")
        if said or not name.endswith("/"):
            line = said.split("\n")[0].replace("|", r"\|")
            table.append(f"| `{name}` | {line} |")
    return table


def with_map(readme: str, root: Path) -> str:
    """The README's text with a fresh table under its heading, which is added at the end where it is missing."""
    if not SECTION.search(readme):
        readme = f"{readme.rstrip()}\n\n{HEADING}\n"
    section = "\n".join([HEADING, "| file | what it is |", "|---|---|", *rows(root), "\n"])
    return SECTION.sub(lambda _: section, readme, count=1).rstrip() + "\n"


if __name__ == "__main__":
    file = ROOT / "README.md"
    file.write_text(with_map(file.read_text(encoding="utf-8"), ROOT), encoding="utf-8")
