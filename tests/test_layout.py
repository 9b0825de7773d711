"""The layout of the code: no import cycle, a small core, and paths in comments and documents that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.product import FILES, ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
SCRIPTS = sorted([*(ROOT / "scripts").glob("*.sh"), ROOT / "Makefile", *(ROOT / "benchmarks").glob("*.py")])
MOST_FILES_IN_CORE = 20
#: A file of this repository, as comments and documents name it. Names in capitals or with < > * are patterns.
PATH = re.compile(
    r"(?<![\w./-])(?:docs|tests|benchmarks|core|runtime|outbox|accounts|tickets|ingest|notify|surveys|web|ops|demo|cli|templates|scripts|fuzz)"
    r"/[\w./-]*\.(?:py|md|sh|html|txt|toml)\b"
)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imports_at_load(path: Path) -> set[str]:
    """Modules of the product that loading a module loads: not those imported inside functions or for type checking only."""

    def visit(body: list[ast.stmt]) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    yield full if full in MODULES else str(node.module)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                yield from visit(node.orelse)
            elif isinstance(node, ast.If | ast.Try | ast.With):
                yield from visit(node.body)

    return {name for name in visit(ast.parse(path.read_text()).body) if name in MODULES} - {module_name(path)}


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one cycle, or none (depth-first search with three colours)."""
    done: set[str] = set()

    def visit(node: str, trail: list[str]) -> list[str]:
        if node in trail:
            return trail[trail.index(node) :]
        if node in done:
            return []
        for following in sorted(graph[node]):
            if cycle := visit(following, [*trail, node]):
                return cycle
        done.add(node)
        return []

    for start in sorted(graph):
        if cycle := visit(start, []):
            return cycle
    return []


def test_imports_have_no_cycle() -> None:
    assert find_cycle({name: imports_at_load(path) for name, path in MODULES.items()}) == []


def test_a_cycle_is_found() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_core_has_few_files() -> None:
    assert len([path for path in (ROOT / "core").glob("*.py") if path.name != "__init__.py"]) <= MOST_FILES_IN_CORE


def test_bootstrap_never_imports_workers() -> None:
    imported = {
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(ast.parse((ROOT / "bootstrap.py").read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert "workers" not in imported and "dramatiq" not in imported


def test_named_paths_exist() -> None:
    missing = {
        f"{path.relative_to(ROOT)}: {named}"
        for path in FILES + DOCUMENTS + SCRIPTS
        for named in PATH.findall(path.read_text())
        # An example of a file to write.
        if named != "ingest/sources/sftp.py" and not (ROOT / named).exists()
    }
    assert missing == set()


def test_links_of_documents_lead_somewhere() -> None:
    broken = {
        f"{path.relative_to(ROOT)}: {link}"
        for path in DOCUMENTS
        for link in LINK.findall(path.read_text())
        if not (path.parent / link).exists()
    }
    assert broken == set()
