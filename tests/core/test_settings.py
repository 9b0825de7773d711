"""Settings: a wrong value is refused with file, key and hint, and secrets stay secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core import settings as configuration
from core.errors import ConfigurationError
from core.settings import Settings
from tests.waiting import scale_budget

KEY = "k" * 32


def load(tmp_path: Path, toml: str = "", **environ: str) -> Settings:
    path = tmp_path / "casemill.toml"
    path.write_text(toml)
    return configuration.load(path, environ)


def refusal(tmp_path: Path, toml: str = "", **environ: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, toml, **environ)
    return refused.value


MAILBOX = '[mailboxes.support]\nhost = "imap.customer.example"\nuser = "support"\npassword = "hunter2hunter2"\n'

REFUSED = {
    "unknown key at the top": ('databse_url = "x"', "databse_url", "spelling"),
    "unknown key in a section": ("[calendar]\nday = 3", "calendar.day", "spelling"),
    "unknown key in a named section": (MAILBOX + "prot = 993", "mailboxes.support.prot", "spelling"),
    "unknown key in a list": ('[[routing.rules]]\nkeywrod = "x"\nperson = "a@b.example"', "routing.rules.0.keywrod", "spelling"),
    "wrong type": (MAILBOX + 'port = "many"', "mailboxes.support.port", "kind"),
    "wrong type of a section": ("mailboxes = 3", "mailboxes", "kind"),
    "missing key": ('[mailboxes.support]\nhost = "localhost"\nuser = "u"', "mailboxes.support.password", "add `password"),
    "unknown environment": ('env = "prod"', "env", "kind"),
    "time zone": ('[calendar]\nzone = "America/Atlantis"', "calendar.zone", "kind"),
    "form id": ('[forms.billing]\nunsigned = true', "forms", "kind"),
    "form without secret": ('[forms.5512345]\nname = "x"', "forms.5512345", "kind"),
    "rule without condition": ('[[routing.rules]]\nperson = "a@b.example"', "routing.rules.0", "kind"),
    "rule with person and team": (
        '[[routing.rules]]\nkeyword = "x"\nperson = "a@b.example"\nteam = "t"', "routing.rules.0", "kind",
    ),
    "plain mailbox elsewhere": (MAILBOX + "tls = false", "mailboxes.support", "kind"),
    "no business day at all": ("[calendar]\nweekdays = []", "calendar.weekdays", "kind"),
    "a weekday that is none": ("[calendar]\nweekdays = [7]", "calendar.weekdays.0", "kind"),
    "closing before opening": ("[calendar]\nopens = 17:00:00\ncloses = 09:00:00", "calendar", "kind"),
    "no time between polls": (MAILBOX + "poll_seconds = 0", "mailboxes.support.poll_seconds", "kind"),
    "section that is not available yet": ('[graph.shared]\ntenant = "t"', "graph", "remove the sections [graph"),
    "key that is not available yet": ("[retention]\nraw_days = 30", "retention.raw_days", "remove `raw_days`"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_value_is_refused_with_file_key_and_hint(tmp_path: Path, case: str) -> None:
    toml, key, hint = REFUSED[case]
    error = refusal(tmp_path, toml)
    assert error.file == str(tmp_path / "casemill.toml")
    assert error.key == key
    assert hint in error.hint
    assert all(part in str(error) for part in (error.file, error.key, error.text, error.hint))


@pytest.mark.parametrize("toml", ['[graph.shared]\ntenant = "t"', "[graph]", "[retention]\nraw_days = 0\nfacts_days = 3"])
def test_sections_and_keys_that_nothing_reads_are_not_available_yet(tmp_path: Path, toml: str) -> None:
    error = refusal(tmp_path, toml)
    assert (error.text, error.file) == ("not available yet", str(tmp_path / "casemill.toml"))


def test_invalid_toml_is_refused_with_its_line(tmp_path: Path) -> None:
    error = refusal(tmp_path, "data_dir = 'x'\nenv = test\n")
    assert error.file.endswith("casemill.toml") and "line 2" in error.text and error.hint


def test_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "casemill.toml"
    path.write_bytes("env = 'tést'".encode("latin-1"))
    with pytest.raises(ConfigurationError) as refused:
        configuration.load(path, {})
    assert refused.value.file == str(path) and refused.value.hint


def test_missing_file_is_refused_with_the_command_that_writes_one(tmp_path: Path) -> None:
    for chosen, environ in ((tmp_path / "none.toml", {}), (None, {"CASEMILL_CONFIG": str(tmp_path / "none.toml")})):
        with pytest.raises(ConfigurationError) as refused:
            configuration.load(chosen, environ)
        assert refused.value.file == str(tmp_path / "none.toml")
        assert "casemill init" in refused.value.hint


def test_folder_instead_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        configuration.load(tmp_path, {})
    assert refused.value.file == str(tmp_path) and refused.value.hint


def test_unknown_variable_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    error = refusal(tmp_path, CASEMILL_DATABSE_URL="x")
    assert (error.file, error.key) == ("environment", "CASEMILL_DATABSE_URL")
    assert "CASEMILL_DATABASE_URL" in error.hint


def test_wrong_value_in_a_variable_names_the_variable(tmp_path: Path) -> None:
    error = refusal(tmp_path, 'env = "test"', CASEMILL_ENV="prod")
    assert (error.file, error.key) == ("environment", "CASEMILL_ENV")


def test_missing_secret_names_its_variable_or_file(tmp_path: Path) -> None:
    head = '[mailboxes.support]\nhost = "h.example"\nuser = "u"\n'
    error = refusal(tmp_path, head + 'password = "env:IMAP_PASSWORD"')
    assert error.key == "mailboxes.support.password" and "IMAP_PASSWORD" in error.text
    error = refusal(tmp_path, head + 'password = "file:/nowhere/secret"')
    assert error.key == "mailboxes.support.password" and "/nowhere/secret" in error.text
    (tmp_path / "empty").write_text("\n")
    error = refusal(tmp_path, head + f'password = "file:{tmp_path / "empty"}"')
    assert error.key == "mailboxes.support.password" and "empty" in error.text
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    error = refusal(tmp_path, head + f'password = "file:{tmp_path / "binary"}"')
    assert error.key == "mailboxes.support.password" and "UTF-8" in error.text


def test_secrets_are_read_from_variables_and_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")
    toml = (
        f'secret_key = "file:{tmp_path / "long"}"\n[mailboxes.a]\nhost = "h"\nuser = "u"\npassword = "env:PW"\n'
        f'[forms.1]\nsignature_keys = ["file:{tmp_path / "secret"}", "plain"]\n'
    )
    (tmp_path / "long").write_text(KEY)
    settings = load(tmp_path, toml, PW="from a variable")
    assert settings.mailboxes["a"].password.get_secret_value() == "from a variable"
    assert [key.get_secret_value() for key in settings.forms["1"].signature_keys] == ["from a file", "plain"]
    assert settings.signing_keys() == [KEY.encode()]


def test_server_addresses_may_be_secret_references(tmp_path: Path) -> None:
    settings = load(tmp_path, 'smtp_url = "env:RELAY"\ndatabase_url = "env:DB"', RELAY="smtp://h", DB="postgresql://h/d")
    assert (settings.mail_out, settings.database) == ("smtp://h", "postgresql+psycopg://h/d")


def test_short_signing_key_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, CASEMILL_SECRET_KEY="short")
    assert error.key == "secret_key" and "token_hex" in error.hint
    error = refusal(tmp_path, f'secret_key = "{KEY}"\nprevious_secret_keys = ["{KEY}", "canary"]')
    assert error.key == "previous_secret_keys.1"
    assert "canary" not in str(error)


def test_imap_without_tls_needs_this_machine_or_insecure(tmp_path: Path) -> None:
    for host in ("localhost", "127.0.0.1", "::1", "127.8.9.1"):
        settings = load(tmp_path, MAILBOX.replace("imap.customer.example", host) + "tls = false")
        assert not settings.mailboxes["support"].tls
    assert load(tmp_path, MAILBOX + "tls = false\ninsecure = true").mailboxes["support"].insecure
    for host in ("127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "::2"):
        assert refusal(tmp_path, MAILBOX.replace("imap.customer.example", host) + "tls = false").key == "mailboxes.support"


def test_variables_override_the_file(tmp_path: Path) -> None:
    toml = f'data_dir = "a"\ndatabase_url = "sqlite:///a"\nredis_url = "redis://a"\nsmtp_url = "smtp://a"\nsecret_key = "{KEY}"\n'
    settings = load(
        tmp_path, toml, CASEMILL_DATA_DIR="b", CASEMILL_DATABASE_URL="sqlite:///b", CASEMILL_REDIS_URL="redis://b",
        CASEMILL_SMTP_URL="smtp://b", CASEMILL_SECRET_KEY="b" * 32, CASEMILL_ENV="test",
    )  # fmt: skip
    assert settings.data_dir == Path("b")
    assert (settings.database, settings.redis_url, settings.mail_out) == ("sqlite:///b", "redis://b", "smtp://b")
    assert (settings.signing_keys(), settings.env) == ([b"b" * 32], "test")


def test_empty_variable_is_ignored(tmp_path: Path) -> None:
    assert load(tmp_path, 'redis_url = "redis://a"', CASEMILL_REDIS_URL="").redis_url == "redis://a"


def test_file_is_found_by_argument_variable_or_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert configuration.load(environ={}).env == "development"
    (tmp_path / "casemill.toml").write_text('env = "test"')
    assert configuration.load(environ={}).env == "test"
    (tmp_path / "other.toml").write_text('data_dir = "other"')
    assert configuration.load(environ={"CASEMILL_CONFIG": "other.toml"}).data_dir == Path("other")
    assert configuration.load("casemill.toml", {"CASEMILL_CONFIG": "other.toml"}).env == "test"


def test_defaults_are_embedded_under_the_data_folder(tmp_path: Path) -> None:
    settings = load(tmp_path, CASEMILL_DATA_DIR=str(tmp_path / "data"))
    assert settings.database == f"sqlite:///{tmp_path / 'data' / 'casemill.db'}"
    assert settings.mail_out == f"maildir:{tmp_path / 'data' / 'sent'}"
    assert settings.redis_url == ""


def test_generated_key_is_stored_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    settings = load(tmp_path, CASEMILL_DATA_DIR=str(tmp_path / "data"))
    (key,) = settings.signing_keys()
    assert len(key) == 64
    assert settings.signing_keys() == [key]
    assert (tmp_path / "data" / "secret.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["secret.key"]


def test_processes_started_at_once_generate_one_key(tmp_path: Path) -> None:
    code = (
        "import sys, time; from core.settings import Settings\n"
        "settings = Settings.model_validate({'data_dir': sys.argv[1]}); sys.stdin.readline()\n"
        "print(settings.signing_keys()[0].decode())"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(4)
    ]  # fmt: skip
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    keys = {process.communicate(timeout=scale_budget(30))[0].strip() for process in processes}
    assert len(keys) == 1 and len(keys.pop()) == 64


def test_previous_keys_follow_the_key_that_signs(tmp_path: Path) -> None:
    settings = load(tmp_path, f'secret_key = "{KEY}"\nprevious_secret_keys = ["{"p" * 32}"]')
    assert settings.signing_keys() == [KEY.encode(), b"p" * 32]


def test_printed_settings_contain_no_secret(tmp_path: Path) -> None:
    secrets = ("hunter2hunter2", "signature-canary", "handshake-canary", "db-canary", "smtp-canary", "redis-canary", "w" * 20)
    toml = (
        f'secret_key = "{"w" * 20}"\nsmtp_url = "smtp://u:smtp-canary@h"\nredis_url = "redis://:redis-canary@h"\n'
        'database_url = "postgresql://u:db-canary@h/d"\n'
        '[forms.1]\nsignature_keys = ["signature-canary"]\nhandshake_key = "handshake-canary"\n' + MAILBOX
    )
    settings = load(tmp_path, toml)
    shown = f"{settings!r} {settings}"
    assert [secret for secret in secrets if secret in shown] == []


def test_refusal_contains_no_secret(tmp_path: Path) -> None:
    error = refusal(tmp_path, MAILBOX + "tls = false\nport = 'canary'")
    assert "hunter2" not in str(error) and "canary" not in str(error)
    with pytest.raises(ValueError, match="mailboxes") as raw:
        Settings.model_validate({"mailboxes": {"a": {"host": "h.example", "user": "u", "password": "canary", "tls": False}}})
    assert "canary" not in str(raw.value)


SAFE = {
    "CASEMILL_ENV": "production",
    "CASEMILL_SECRET_KEY": KEY,
    "CASEMILL_SMTP_URL": "smtp://relay.example",
}
SAFE_FILE = '[web]\nbase_url = "https://help.billing.com"\n[notices]\ndomain = "billing.com"\n'


def test_production_accepts_safe_settings(tmp_path: Path) -> None:
    assert load(tmp_path, SAFE_FILE, **SAFE).env == "production"


@pytest.mark.parametrize(
    ("key", "toml", "without"),
    [
        ("secret_key", SAFE_FILE, "CASEMILL_SECRET_KEY"),
        ("smtp_url", SAFE_FILE, "CASEMILL_SMTP_URL"),
        ("web.base_url", SAFE_FILE.replace("https:", "http:"), ""),
        ("notices.domain", SAFE_FILE.replace('domain = "billing.com"', 'domain = "billing.example"'), ""),
    ],
)
def test_production_refuses_values_that_are_only_fit_for_a_trial(tmp_path: Path, key: str, toml: str, without: str) -> None:
    error = refusal(tmp_path, toml, **{name: value for name, value in SAFE.items() if name != without})
    assert (error.key, error.text) == (key, "not safe in production")
    assert error.hint
