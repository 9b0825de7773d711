"""The files of the product, for tests that read its code."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("accounts", "cli", "core", "demo", "ingest", "notify", "ops", "outbox", "runtime", "surveys", "tickets", "web")
#: Migrations are not among them: history does not change.
FILES = sorted(
    [ROOT / "bootstrap.py", ROOT / "workers.py", *(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))]
)
