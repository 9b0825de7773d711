"""`casemill init`, `migrate` and the configuration they write."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from cli.config_help import KEY_EXAMPLES, KEY_HELP
from cli.config_writer import render_config
from core import settings
from core.settings import Settings, sections
from tests.cli.support import run


def section_classes() -> dict[str, Any]:
    """Return the classes of all sections by their names."""
    found = {name: one for name, one in vars(sections).items() if isinstance(one, type) and issubclass(one, sections.Section)}
    return {name: one for name, one in found.items() if one is not sections.Section} | {"Settings": Settings}


def is_section(annotation: Any) -> bool:
    return any(
        isinstance(part, type) and issubclass(part, BaseModel) for part in (annotation, *getattr(annotation, "__args__", ()))
    )


def plain_keys(model: type[BaseModel]) -> set[str]:
    return {name for name, field in model.model_fields.items() if not is_section(field.annotation)}


@pytest.mark.parametrize(("name", "model"), section_classes().items())
def test_every_key_is_explained_and_no_other(name: str, model: type[BaseModel]) -> None:
    assert set(KEY_HELP[name]) == plain_keys(model)
    assert set(KEY_EXAMPLES.get(name, {})) <= plain_keys(model)


def test_written_configuration_changes_no_default(tmp_path: Path) -> None:
    path = tmp_path / "casemill.toml"
    path.write_text(render_config())
    assert settings.load(path, {}) == settings.load(None, {"CASEMILL_CONFIG": str(write_empty_config(tmp_path))})


def test_every_key_of_the_written_configuration_can_be_set(tmp_path: Path) -> None:
    path = tmp_path / "casemill.toml"
    path.write_text(re.sub(r"(?m)^#(?=[a-z\[])", "", render_config()))
    secrets = set(re.findall(r"env:(CASEMILL_SECRET_\w+)", path.read_text()))
    loaded = settings.load(path, dict.fromkeys(secrets, "a secret"))
    assert loaded.mailboxes["support"].password.get_secret_value() == "a secret"
    assert loaded.routing.rules[0].person == "mara.lind@example.com"
    values = tomllib.loads(path.read_text())
    assert set(values) == set(Settings.model_fields)
    for name in ("calendar", "limits", "notices", "web"):
        section: Any = Settings.model_fields[name].annotation
        assert set(values[name]) == set(section.model_fields)


def test_init_writes_configuration_database_and_first_administrator(workdir: Path) -> None:
    ran = run("init", "--admin-name", "Ruth Calder", "--admin-email", "Ruth@billing.example")
    assert ran.code == 0
    assert (workdir / "casemill.toml").read_text() == render_config()
    (person,) = run("staff", "list", "--json").json
    assert (person["email"], person["name"], person["role"]) == ("ruth@billing.example", "Ruth Calder", "administrator")


def test_init_overwrites_nothing(workdir: Path) -> None:
    (workdir / "casemill.toml").write_text("[surveys]\ndays = 7\n")
    ran = run("init")
    assert (ran.code, "was not changed" in ran.out, "casemill staff add" in ran.out) == (0, True, True)
    assert (workdir / "casemill.toml").read_text() == "[surveys]\ndays = 7\n"


def test_init_writes_to_the_named_configuration_file(workdir: Path) -> None:
    assert run("--config", "etc/own.toml", "init").code == 0
    assert (workdir / "etc/own.toml").read_text() == render_config()
    assert not (workdir / "casemill.toml").exists()


def test_migrate_reports_its_result(workdir_each_database: Path) -> None:
    assert "is up to date" in run("migrate").out


def test_migrate_creates_a_missing_database(workdir: Path) -> None:
    assert re.fullmatch(r"database: updated from empty to \w+\n", run("migrate").out)


def write_empty_config(folder: Path) -> Path:
    path = folder / "empty.toml"
    path.touch()
    return path
