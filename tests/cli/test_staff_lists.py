"""`casemill staff import`: staff with open work are not deactivated."""

from __future__ import annotations

from pathlib import Path

from cli import console
from tests.cli.support import run

RUTH, OMAR = "ruth@billing.example", "omar@billing.example"


def staff(workdir: Path, *lines: str) -> Path:
    path = workdir / "staff.csv"
    path.write_text("\n".join(["email,name,active", *lines]) + "\n")
    return path


def test_import_refuses_to_deactivate_staff_with_open_tickets_and_hints_at_the_command(workdir: Path) -> None:
    run("staff", "import", staff(workdir, f"{RUTH},Ruth,yes", f"{OMAR},Omar,yes"))
    run("ticket", "new", "--owner", RUTH, "--name", "Lee Moss", "--description", "Called")
    done = run("staff", "import", staff(workdir, f"{RUTH},Ruth,no", f"{OMAR},Omar,no"), "--json")
    assert done.code == console.EXIT_PROBLEM
    assert (done.json["updated"], done.json["refused"]) == (1, [{
        "line": 2, "field": "active", "code": "open_tickets",
        "reason": "they have open tickets or tasks (use `casemill staff deactivate`, which reassigns them)",
    }])  # fmt: skip
    active = {row["email"]: row["active"] for row in run("staff", "list", "--json").json}
    assert active == {RUTH: True, OMAR: False}
    assert run("tickets", "--json").json[0]["owner"] == "Ruth"


def test_import_deactivates_staff_whose_tickets_were_reassigned(workdir: Path) -> None:
    run("staff", "import", staff(workdir, f"{RUTH},Ruth,yes", f"{OMAR},Omar,yes"))
    run("ticket", "new", "--owner", RUTH, "--name", "Lee Moss", "--description", "Called")
    assert run("ticket", "assign", "BS-000001", "--to", OMAR, "--by", RUTH).code == 0
    assert run("staff", "import", staff(workdir, f"{RUTH},Ruth,no")).code == 0
