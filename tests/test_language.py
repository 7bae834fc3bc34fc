"""Documentation, help, docstrings and error messages are plain English: none of the words that a native would not use.

CONTRIBUTING.md has the rule, this file the words. `training/LOG.md` is exempt: it keeps history word for word.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

ONE = "line|row|call|layer|number|look|bar|frame|message|picture|map|person"
PER = "message|person|frame|file|marker|verb|head|joint|camera|bundle|core|crop|image|picture|folder|iteration"
NTH = "(first|second|third|fourth|fifth|sixth)"
DIALECT = {  # pattern → what to write instead
    r"\b(fore)?told\b": "reported, predicted, or nothing",
    r"\bforetells?\b": "predicts",
    r"\bsaid to be\b|\bis said\b|\bare said\b": "reported",
    r"\bwhom\b|\bwhoever\b|\bwhosoever\b": "person, track or detection",
    r"\bsomebody\b|\bsomeone\b|\banybody\b|\bno one\b": "person, track or detection",
    r"\bwho is who\b": "each person's id",
    r"\b(both|one|the other|either) hands?('s)?\b(?! \w*(hold|reach|wave))": "mirrored and unmirrored",
    r"\bto be had\b": "available",
    r"\bnought\b|\bhitherto\b|\banew\b|\bwhereof\b|\bbut for\b": "a plain word",
    rf"\b(a|an) ({ONE}) an? ({PER})\b": "one X per Y",
    rf"\bthe (release|weights|sitting|version) before\b|\bthe {NTH} sitting\b": "no history here",
}  # fmt: skip
HISTORY = re.compile(r"\b(used to be|formerly|until now|no longer|as before|of old)\b", re.IGNORECASE)
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config.yaml", "training/README.md", "trt_plugins/README.md"]


def faults(text: str) -> list[str]:
    found = [f"{match.group(0)!r}: {cure}" for pattern, cure in DIALECT.items()
             for match in re.finditer(pattern, text, re.IGNORECASE)]  # fmt: skip
    return found


def pages() -> list[Path]:
    return [path for path in [*(ROOT / name for name in PAGES), *(ROOT / "docs").rglob("*.md")] if path.is_file()]


def sources() -> list[Path]:
    return [*(ROOT / "refit_rt").rglob("*.py"), *(ROOT / "training").rglob("*.py")]


def sentences(path: Path) -> Iterator[tuple[int, str]]:
    """What a user of the library reads: first lines of docstrings, settings' texts, and messages of errors."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text.split("\n\n")[0]
        if isinstance(node, ast.ClassDef):  # a setting's text stands below its field
            texts = (one.value for one in node.body[1:] if isinstance(one, ast.Expr))
            yield from ((t.lineno, t.value) for t in texts if isinstance(t, ast.Constant) and isinstance(t.value, str))
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "UserError":
            strings = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
            yield node.lineno, " ".join(one for one in strings if isinstance(one, str))


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_are_plain_english(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [f"{path.name}:{number}: {fault}" for number, line in enumerate(lines, 1) for fault in faults(line)]
    if path.name != "CHANGELOG.md":
        found += [f"{path.name}:{n}: {m.group(0)!r}: no history here" for n, line in enumerate(lines, 1)
                  for m in HISTORY.finditer(line)]  # fmt: skip
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_settings_and_errors_are_plain_english(path: Path) -> None:
    found = [f"{path.relative_to(ROOT)}:{line}: {fault}" for line, text in sentences(path) for fault in faults(text)]
    assert not found, "\n".join(found)


def test_a_wrong_word_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text('"""What is told of somebody."""\n\n\ndef f():\n    raise UserError(f"{1}: a line a message")\n')
    found = [fault for _, text in sentences(path) for fault in faults(text)]
    assert [fault.split(":")[0] for fault in found] == ["'told'", "'somebody'", "'a line a message'"]
