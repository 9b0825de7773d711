"""Run commands in this process or their own, and write files for them."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from typer.testing import CliRunner

from cli.main import app
from tests.waiting import scale_budget

ROOT = Path(__file__).parents[2]
CLI_PROGRAM = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from cli.main import main; main()"


@dataclass(frozen=True)
class CommandResult:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


def run(*arguments: object, stdin: str | None = None) -> CommandResult:
    """Run a command in this process. An exception that a command must not let through fails the test."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return CommandResult(result.exit_code, result.stdout, result.stderr)


def run_process(*arguments: object, cwd: Path, **environ: str) -> CommandResult:
    """Run a command in a process of its own, with only ``environ`` in its environment."""
    command = [sys.executable, "-c", CLI_PROGRAM, *map(str, arguments)]
    limit = scale_budget(90)
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=limit, check=False)
    return CommandResult(done.returncode, done.stdout, done.stderr)


def write_mail(path: Path, number: int, text: str = "") -> Path:
    """Write a small mail with a sender and Message-ID for ``number``."""
    head = f"From: Dana Ortiz <dana{number}@oak.example>\nTo: support@casemill.example\nSubject: Claim {number}\n"
    head += f"Message-ID: <{number}@oak.example>\nDate: Sun, 22 Nov 2026 04:00:00 +0000\n\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + (text or f"Claim {number} was denied.") + "\n")
    return path


def write_form(path: Path, submission: int = 1512345678) -> Path:
    """Write a Formstack submission."""
    answers = {
        "FormID": "5512345", "UniqueID": str(submission), "HandshakeKey": "demo-shared-secret",
        "practice_name": "Riverside Family Clinic", "contact": {"first": "Dana", "last": "Ortiz"},
        "email": "dana.ortiz@riverside.example", "details": "Claim 88-2041 was denied twice.",
    }  # fmt: skip
    path.write_text(json.dumps(answers))
    return path


def write_workbook(path: Path, rows: int = 3, rejected: int = 0) -> Path:
    """Write a secure-message workbook. The last ``rejected`` rows have neither sender nor practice."""
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["Message ID", "Practice", "Sender", "Email", "Subject", "Message"])
    for number in range(rows):
        sheet.append([f"m{number}", "Oak Hill", "Lee Moss", f"lee{number}@oak.example", "Claim", f"Text {number}"])
    for number in range(rejected):
        sheet.append([f"r{number}", "", "", "", "", "Text without sender"])
    book.save(path)
    return path
