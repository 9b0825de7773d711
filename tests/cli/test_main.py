"""The root of the command: help, the configuration, and how it ends when something is wrong."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from cli.main import app
from tests.cli.support import CLI_PROGRAM, ROOT, run, run_process
from tests.waiting import scale_budget, wait_for_exit

#: Modules that take long to import, which --help does not need.
HEAVY = ("alembic", "dramatiq", "openpyxl", "pydantic", "redis", "rich", "sqlalchemy", "starlette", "uvicorn")


def walk(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every command below one."""
    if isinstance(command, TyperGroup):
        for name, one in command.commands.items():
            yield from walk(one, (*path, name))
    else:
        yield path


COMMANDS = list(walk(typer.main.get_command(app)))


def test_all_commands_of_the_contract_exist() -> None:
    wanted = ["init", "run", "web", "watch", "tick", "ingest", "explain", "tickets", "doctor", "migrate"]
    wanted += ["ticket show", "ticket new", *(f"quarantine {verb}" for verb in ("list", "show", "retry", "discard"))]
    wanted += [f"{who} {verb}" for who in ("staff", "company", "contact") for verb in ("add", "list", "import")]
    assert set(wanted) <= {" ".join(path) for path in COMMANDS}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    ran = run(*path, "--help")
    assert ran.code == 0
    assert f"casemill {' '.join(path)}" in " ".join(ran.out.split("Example:")[1].split())


def test_help_imports_nothing_heavy() -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['casemill', '--help']\nfrom cli.main import main\n"
    program += f"try:\n    main()\nfinally:\n    print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=scale_budget(60), check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_wrong_usage_exits_with_2_without_a_traceback(workdir: Path) -> None:
    wrong = (["nonsense"], ["ingest"], ["tickets", "--view", "nonsense"], ["tickets", "--source", "fax"], ["run", "--nonsense"])
    for command in wrong:
        ran = run_process(*command, cwd=workdir)
        assert ran.code == 2
        assert ran.err and "Traceback" not in ran.err


@pytest.mark.parametrize("command", [["tickets"], ["explain", "a.eml"], ["ingest", "a.eml"], ["run"], ["migrate"], ["web"]])
def test_wrong_configuration_is_refused_with_file_key_and_hint(workdir: Path, command: list[str]) -> None:
    (workdir / "wrong.toml").write_text("[notices]\ncolour = 1\n")
    ran = run_process("--config", "wrong.toml", *command, cwd=workdir)
    assert (ran.code, ran.out) == (2, "")
    assert "wrong.toml" in ran.err and "notices.colour" in ran.err and "hint:" in ran.err
    assert "Traceback" not in ran.err


def test_missing_configuration_file_is_reported(workdir: Path) -> None:
    ran = run_process("--config", "nowhere.toml", "tickets", cwd=workdir)
    assert ran.code == 2
    assert "nowhere.toml" in ran.err and "casemill init" in ran.err


def test_invalid_database_url_is_reported(workdir: Path) -> None:
    ran = run_process("tickets", cwd=workdir, CASEMILL_DATABASE_URL="nonsense")
    assert ran.code == 2
    assert "database_url" in ran.err and "Traceback" not in ran.err


def test_closed_output_pipe_is_not_an_error(workdir: Path) -> None:
    for number in range(300):
        (workdir / f"{number}.eml").write_text(f"From: a@b.example\nSubject: {number}\n\n{'text ' * 400}\n")
    command = [sys.executable, "-c", CLI_PROGRAM, "explain", "--json", "."]
    with subprocess.Popen(command, cwd=workdir, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={}) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        wait_for_exit(process, 60)
