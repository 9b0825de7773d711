"""`casemill staff`, `company` and `contact`, run as commands, on both databases."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from cli.directory import company_app, contact_app, staff_app
from core import migrations
from core.database.session import Database


@pytest.fixture(autouse=True)
def workdir(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a migrated database that the commands find by their environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CASEMILL_DATABASE_URL", database_url)
    monkeypatch.setenv("CASEMILL_DATA_DIR", str(tmp_path))
    database = Database(database_url)
    migrations.upgrade(database)
    database.close()
    return tmp_path


def run(app: typer.Typer, *arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def list_json(app: typer.Typer, *arguments: str) -> list[dict[str, object]]:
    result = run(app, "list", "--json", *arguments)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_staff_are_added_updated_and_listed() -> None:
    added = run(staff_app, "add", "Mara@billing.example", "--name", "Mara Lind", "--hours", "8-17", "--days", "Mon-Thu")
    assert (added.exit_code, added.stdout) == (0, "Mara@billing.example: created\n")
    assert run(staff_app, "add", "mara@billing.example", "--inactive").stdout == "mara@billing.example: updated\n"
    assert list_json(staff_app) == [
        {
            "email": "mara@billing.example", "name": "Mara Lind", "role": "representative", "active": False, "capacity": 50,
            "skills": [], "zone": "America/New_York", "weekdays": "0123", "hours": "08:00-17:00", "stand_in": None,
            "teams": [], "away": [],
        }
    ]  # fmt: skip


def test_companies_and_contacts_are_added_and_listed() -> None:
    run(staff_app, "add", "ana@billing.example", "--name", "Ana")
    arguments = ["--domain", "oakhill.example", "--domain", "oak.example", "--manager", "ana@billing.example", "--telemedicine"]
    assert run(company_app, "add", "Oak Hill, PC", *arguments).exit_code == 0
    assert run(contact_app, "add", "lee@oakhill.example", "--company", "oak hill", "--admin", "--prefers", "phone").exit_code == 0
    (company,) = list_json(company_app)
    assert (company["name"], company["manager"], company["domains"]) == (
        "Oak Hill, PC", "ana@billing.example", ["oak.example", "oakhill.example"],
    )  # fmt: skip
    (contact,) = list_json(contact_app, "--company", "OAK HILL")
    assert (contact["company"], contact["is_admin"], contact["preferred_contact"]) == ("Oak Hill, PC", True, "phone")
    assert list_json(contact_app, "--find", "nobody") == []


@pytest.mark.parametrize(
    ("app", "arguments", "text"),
    [
        (staff_app, ["add", "mara@billing.example"], "needs a name"),
        (staff_app, ["add", "not an address", "--name", "M"], "not one plain email address"),
        (company_app, ["add", "Oak Hill", "--manager", "nobody@billing.example"], "no member of staff"),
        (company_app, ["add", "Oak Hill", "--domain", "gmail.com"], "public mail domain"),
        (contact_app, ["add", "lee@oakhill.example", "--company", "Nowhere"], "there is no company"),
    ],
)
def test_wrong_value_is_refused_with_a_hint_and_exit_code_2(app: typer.Typer, arguments: list[str], text: str) -> None:
    result = run(app, *arguments)
    assert result.exit_code == 2
    assert text in result.stderr
    assert "  hint: " in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("app", [staff_app, company_app, contact_app])
def test_empty_list_says_what_to_do(app: typer.Typer) -> None:
    result = run(app, "list")
    assert result.exit_code == 0
    assert "casemill" in result.stdout
    assert list_json(app) == []


@pytest.mark.parametrize("app", [staff_app, company_app, contact_app])
def test_every_command_has_help_with_an_example(app: typer.Typer) -> None:
    for command in app.registered_commands:
        result = run(app, str(command.name), "--help")
        assert result.exit_code == 0
        assert "Example: casemill" in result.stdout


def test_out_of_office_is_set_in_the_persons_time_zone_and_ended() -> None:
    run(staff_app, "add", "mara@billing.example", "--name", "Mara", "--zone", "America/Chicago")
    run(staff_app, "add", "ben@billing.example", "--name", "Ben")
    dates = ["--from", "2099-12-24", "--until", "2099-12-26", "--stand-in", "ben@billing.example"]
    result = run(staff_app, "out", "mara@billing.example", *dates)
    assert result.exit_code == 0
    assert "2099-12-24 06:00 to 2099-12-27 06:00 UTC" in result.stdout
    mara = list_json(staff_app)[1]
    assert mara["away"] == [{"starts": "2099-12-24T06:00:00+00:00", "ends": "2099-12-27T06:00:00+00:00"}]
    assert mara["stand_in"] == "ben@billing.example"
    assert "away 2099-12-24" in run(staff_app, "list").stdout
    assert run(staff_app, "out", "mara@billing.example", "--back").stdout == "mara@billing.example is back\n"
    assert list_json(staff_app)[1]["away"] == []


@pytest.mark.parametrize(
    "arguments", [[], ["--until", "soon"], ["--until", "2099-01-01", "--back"], ["--from", "2099-01-02", "--until", "2099-01-01"]]
)
def test_impossible_absence_is_wrong_usage(arguments: list[str]) -> None:
    run(staff_app, "add", "mara@billing.example", "--name", "Mara")
    assert run(staff_app, "out", "mara@billing.example", *arguments).exit_code == 2
    assert list_json(staff_app)[0]["away"] == []


def test_unknown_person_cannot_be_set_out_of_office() -> None:
    result = run(staff_app, "out", "nobody@billing.example", "--until", "2099-01-01")
    assert result.exit_code == 1
    assert "no member of staff" in result.stderr


def test_import_reports_refused_lines_and_their_file(workdir: Path) -> None:
    path = workdir / "contacts.csv"
    path.write_text("email,name,shoe size\na@x.example,Ann,38\nbad,[bold]Bob,44\n")
    result = run(contact_app, "import", str(path))
    assert result.exit_code == 1
    assert "contacts.csv: 1 created, 0 updated, 0 unchanged, 1 refused" in result.stdout
    assert "'bad' is not one plain email address" in result.stdout
    assert "shoe size" in result.stdout
    assert str(workdir / "contacts.csv.refused.csv") in result.stdout
    assert (workdir / "contacts.csv.refused.csv").exists()
    assert [contact["email"] for contact in list_json(contact_app)] == ["a@x.example"]


def test_import_report_is_available_as_json(workdir: Path) -> None:
    path = workdir / "staff.csv"
    path.write_text("email,name\na@x.example,Ann\nbad,Bob\n")
    result = run(staff_app, "import", str(path), "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (report["created"], report["refused_file"]) == (1, f"{path}.refused.csv")
    assert [(line["line"], line["field"], line["code"]) for line in report["refused"]] == [(3, "email", "odd_address")]


def test_import_without_errors_exits_with_0(workdir: Path) -> None:
    path = workdir / "practices.csv"
    path.write_text("practice\nOak Hill\n")
    assert run(company_app, "import", str(path)).exit_code == 0
    assert not list(workdir.glob("*.refused.csv"))


def test_missing_or_empty_import_file_is_wrong_usage(workdir: Path) -> None:
    assert run(company_app, "import", str(workdir / "nowhere.csv")).exit_code == 2
    (workdir / "empty.csv").touch()
    result = run(company_app, "import", str(workdir / "empty.csv"))
    assert result.exit_code == 2
    assert "empty.csv is empty" in result.stderr


def test_unknown_configuration_key_is_reported_with_file_and_hint(workdir: Path) -> None:
    (workdir / "casemill.toml").write_text("colour = 'red'\n")
    result = run(staff_app, "list")
    assert result.exit_code == 2
    assert "casemill.toml: colour: unknown key" in result.stderr
    assert "hint:" in result.stderr


def test_piped_list_has_one_untruncated_line_a_record() -> None:
    for number in range(3):
        email = f"somebody.with.a.very.long.name.{number}@a-practice-with-a-very-long-name-indeed.example"
        run(contact_app, "add", email, "--name", "Somebody with an equally long name \u202e[red]that is longer than this")
    lines = run(contact_app, "list").stdout.splitlines()
    assert len(lines) == 4
    assert lines[0].split() == ["email", "name", "company", "phone", "notes"]
    assert lines[1].startswith("somebody.with.a.very.long.name.0@a-practice-with-a-very-long-name-indeed.example  Somebody")
    assert lines[1].endswith("[red]that is longer than this")


def test_directory_commands_import_no_database_layer() -> None:
    program = "import sys, cli.directory; print([name for name in ('sqlalchemy', 'rich', 'pydantic') if name in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout == "[]\n"
