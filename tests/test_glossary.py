"""docs/glossary.md is true: names that are gone do not come back, and texts use the standard words."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.product import FILES as PRODUCT
from tests.product import ROOT

OTHER_CODE = sorted(path for folder in ("benchmarks", "fuzz", "tests") for path in (ROOT / folder).rglob("*.py"))
#: Classes, modules and functions that must not exist under these names.
OLD_NAMES = {
    "mill", "floor", "precedence", "crew", "bells", "hints", "intray", "turnstile", "soleness", "tenure", "keeper", "fate",
    "verdict", "ruling", "judgement", "tally", "balance", "mend", "freezing", "handing_over", "letters", "door", "given", "asked",
    "acts",
}  # fmt: skip
#: Phrases that no text for users, log event or docstring uses.
OLD_PHRASES = re.compile(
    r"\b(mend(s|ed|ing)?|whoever|whatever|nobody hears|is told|steps? aside|goes on|for ever)\b", re.IGNORECASE
)
#: Strings that are stored, sent between processes, or accepted for one more release, and so keep their words.
STORED = {"clock.mend", "--mend"}
#: Modules whose classes may share names with others: API schemas, and tables.
SHARED_NAMES = {"models.py", "requests.py", "responses.py"}
TEMPLATES = sorted(path for path in (ROOT / "templates").rglob("*") if path.suffix in (".html", ".txt", ".j2", ".md"))
DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    # The glossary names what is gone.
    if path.name != "glossary.md"
)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def definitions(path: Path) -> Iterator[str]:
    """The module's own name, and those of its classes and functions, methods included."""
    yield path.stem
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string constant, docstrings and the parts of f-strings included."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in STORED:
            yield node.lineno, node.value


def test_no_definition_has_an_old_name() -> None:
    found = [
        f"{name(path)}: {one}"
        for path in PRODUCT + OTHER_CODE
        for one in definitions(path)
        if one.lower().strip("_") in OLD_NAMES
    ]
    assert found == []


def test_texts_of_the_product_use_standard_words() -> None:
    found = [
        f"{name(path)}:{line}: {hit.group()}"
        for path in PRODUCT
        for line, text in texts(path)
        for hit in OLD_PHRASES.finditer(text)
    ]
    assert found == []


def test_templates_and_documents_use_standard_words() -> None:
    found = [
        f"{name(path)}:{number}: {hit.group()}"
        for path in TEMPLATES + DOCUMENTS
        for number, line in enumerate(path.read_text().splitlines(), 1)
        # Names in code spans may be old: the changelog says what replaced them.
        for hit in OLD_PHRASES.finditer(re.sub(r"`[^`]*`", "", line))
    ]
    assert found == []


def test_class_names_exist_once() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in PRODUCT:
        if path.name not in SHARED_NAMES:
            for node in ast.walk(tree(path)):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(name(path))
    assert {found: where for found, where in places.items() if len(where) > 1} == {}


def test_module_names_exist_once_in_a_package() -> None:
    places: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for path in PRODUCT:
        relative = path.relative_to(ROOT)
        # Every package has one of these, or may: it is found by its folder.
        if len(relative.parts) > 1 and path.name not in ("__init__.py", "models.py", "types.py", "queries.py"):
            places[relative.parts[0], path.stem].append(str(relative))
    assert {key: where for key, where in places.items() if len(where) > 1} == {}


def test_every_old_name_stands_in_the_glossary() -> None:
    glossary = (ROOT / "docs" / "glossary.md").read_text().lower()
    spelled = {"handing_over": "handing over", "letters": "letter", "freezing": "freezer"}
    assert [word for word in OLD_NAMES if spelled.get(word, word) not in glossary] == []


def test_the_checks_find_what_they_look_for(tmp_path: Path) -> None:
    sample = tmp_path / "keeper.py"
    sample.write_text('"""Whoever waits is told."""\n\n\nclass _Mill:\n    """A mill."""\n')
    assert {"keeper", "_Mill"} <= {found for found in definitions(sample) if found.lower().strip("_") in OLD_NAMES}
    assert [hit.group().lower() for _, text in texts(sample) for hit in OLD_PHRASES.finditer(text)] == ["whoever", "is told"]
