"""Settings: one TOML file, environment overrides, secrets by reference. A wrong value is refused with file, key and hint."""

from __future__ import annotations

import os
import secrets
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, ValidationError

from core.errors import ConfigurationError
from core.settings.sections import (
    Calendar,
    Folder,
    Form,
    Limits,
    Mailbox,
    Notices,
    Pipelines,
    Retention,
    Routing,
    Smtp,
    Surveys,
    Team,
    Web,
)
from core.settings.types import Secret, SecretUrl, Section

#: Environment overrides: variable → top-level key.
ENVIRONMENT_OVERRIDES = {
    "CASEMILL_DATABASE_URL": "database_url",
    "CASEMILL_REDIS_URL": "redis_url",
    "CASEMILL_SMTP_URL": "smtp_url",
    "CASEMILL_DATA_DIR": "data_dir",
    "CASEMILL_SECRET_KEY": "secret_key",
    "CASEMILL_ENV": "env",
}
#: Variables with the prefix that are not settings of the file.
KNOWN_VARIABLES = {*ENVIRONMENT_OVERRIDES, "CASEMILL_CONFIG", "CASEMILL_CRASH_AT", "CASEMILL_USER"}
#: Shorter signing keys are refused, because they can be guessed.
MIN_KEY_BYTES = 16
#: Sections and keys that earlier versions accepted and nothing reads: key → what to do.
NOT_YET_AVAILABLE = {
    "graph": 'remove the sections [graph.…]; watch a Microsoft mailbox by IMAP with auth = "xoauth2"',
    "retention.raw_days": "remove `raw_days`; the originals of messages are not deleted",
}
FORM_ID_HINT = "name the section after the Formstack form id, digits only: [forms.5512345]"


def _require_numeric_form_ids(forms: dict[str, Form]) -> dict[str, Form]:
    for name in forms:
        if not name.isdigit():
            raise ValueError(f"form id {name!r} is not a number; {FORM_ID_HINT}")
    return forms


class Settings(Section):
    """All settings. An empty ``database_url``, ``redis_url`` or ``smtp_url`` means the embedded default under ``data_dir``."""

    data_dir: Path = Path("var")
    database_url: SecretUrl = ""
    redis_url: SecretUrl = ""
    smtp_url: SecretUrl = ""
    secret_key: Secret = SecretStr("")
    previous_secret_keys: list[Secret] = []
    env: str = Field(default="development", pattern="^(development|production|test)$")

    mailboxes: dict[str, Mailbox] = {}
    forms: Annotated[dict[str, Form], AfterValidator(_require_numeric_form_ids)] = {}
    folders: dict[str, Folder] = {}
    pipelines: Pipelines = Pipelines()
    routing: Routing = Routing()
    teams: dict[str, Team] = {}
    calendar: Calendar = Calendar()
    smtp: Smtp = Smtp()
    notices: Notices = Notices()
    surveys: Surveys = Surveys()
    limits: Limits = Limits()
    retention: Retention = Retention()
    web: Web = Web()

    @property
    def database(self) -> str:
        """The database URL in force, with the driver's name."""
        url = self.database_url or f"sqlite:///{self.data_dir / 'casemill.db'}"
        return url.replace("postgresql://", "postgresql+psycopg://", 1)

    @property
    def mail_out(self) -> str:
        """Where outgoing mail is sent: the SMTP URL in force, or the embedded Maildir."""
        return self.smtp_url or f"maildir:{self.data_dir / 'sent'}"

    def signing_keys(self) -> list[bytes]:
        """Return the signing keys: first the one that signs, then the previous ones.

        Without a configured ``secret_key`` a random one is created under ``data_dir`` and used from then on.
        """
        current = self.secret_key.get_secret_value() or _load_or_create_key(self.data_dir / "secret.key")
        return [current.encode(), *(key.get_secret_value().encode() for key in self.previous_secret_keys)]


def load(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings in force, from ``path``, else ``CASEMILL_CONFIG``, else ``./casemill.toml``, else the defaults.

    Variables in ``environ`` (default: the environment of the process) override keys of the file.
    Raises :class:`ConfigurationError`, which names file, key and what to do.
    """
    environ = os.environ if environ is None else environ
    _refuse_unknown_variables(environ)
    chosen = path or environ.get("CASEMILL_CONFIG") or ("casemill.toml" if Path("casemill.toml").exists() else None)
    origin = str(chosen or "environment")
    values: dict[str, Any] = _read_toml(Path(chosen)) if chosen else {}
    for variable, key in ENVIRONMENT_OVERRIDES.items():
        if environ.get(variable):
            values[key] = environ[variable]
    try:
        settings = Settings.model_validate(values, context={"environ": environ})
    except ValidationError as error:
        raise _to_configuration_error(error, origin, environ) from None
    _refuse_short_keys(settings, origin)
    _refuse_unsafe_production(settings, origin)
    return settings


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigurationError(
            "the configuration file does not exist", file=str(path), hint="run `casemill init` to write one"
        ) from None
    except OSError as error:
        text = f"the configuration file cannot be read ({error.strerror})"
        raise ConfigurationError(text, file=str(path), hint="name a file that this user account may read") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"not valid TOML: {error}", file=str(path), hint="correct that line; texts need quotes"
        ) from None


def _to_configuration_error(error: ValidationError, file: str, environ: Mapping[str, str]) -> ConfigurationError:
    first = error.errors(include_input=False, include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    variable = next((name for name, overridden in ENVIRONMENT_OVERRIDES.items() if overridden == key and environ.get(name)), None)
    if variable is not None:
        file, key = "environment", variable
    if first["type"] == "extra_forbidden" and key in NOT_YET_AVAILABLE:
        return ConfigurationError("not available yet", file=file, key=key, hint=NOT_YET_AVAILABLE[key])
    if first["type"] == "extra_forbidden":
        return ConfigurationError(
            "unknown key", file=file, key=key, hint="remove it or correct its spelling; `casemill init` writes all known keys"
        )
    if first["type"] == "missing":
        return ConfigurationError("this key is missing", file=file, key=key, hint=f"add `{first['loc'][-1]} = …`")
    text = first["msg"].removeprefix("Value error, ")
    is_missing_secret = "the secret is missing" in text
    hint = "set the variable or write the file it names" if is_missing_secret else "give a value of that kind"
    return ConfigurationError(text, file=file, key=key, hint=hint)


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    for name in sorted(environ):
        if name.startswith("CASEMILL_") and name not in KNOWN_VARIABLES and not name.startswith("CASEMILL_SECRET_"):
            raise ConfigurationError(
                "unknown variable",
                file="environment",
                key=name,
                hint=f"correct its spelling; known are {', '.join(sorted(KNOWN_VARIABLES))}",
            )


def _refuse_short_keys(settings: Settings, file: str) -> None:
    previous = [(f"previous_secret_keys.{number}", key) for number, key in enumerate(settings.previous_secret_keys)]
    for name, key in (("secret_key", settings.secret_key), *previous):
        if 0 < len(key.get_secret_value().encode()) < MIN_KEY_BYTES:
            hint = "make one with: python3 -c 'import secrets; print(secrets.token_hex(32))'"
            raise ConfigurationError(f"shorter than {MIN_KEY_BYTES} bytes", file=file, key=name, hint=hint)


def _refuse_unsafe_production(settings: Settings, file: str) -> None:
    """Raise when production mode is set with values that are only fit for a trial (security.md, rule 18)."""
    if settings.env != "production":
        return
    checks = [
        (not settings.secret_key.get_secret_value(), "secret_key", 'set CASEMILL_SECRET_KEY or secret_key = "file:/path"'),
        (not settings.smtp_url, "smtp_url", "set CASEMILL_SMTP_URL; without it mail is only stored under data_dir"),
        (not settings.web.base_url.startswith("https://"), "web.base_url", "give the public https:// address"),
        (settings.notices.domain.endswith(".example"), "notices.domain", "set the domain your mail is sent from"),
    ]
    for unsafe, key, hint in checks:
        if unsafe:
            raise ConfigurationError("not safe in production", file=file, key=key, hint=hint)


def _load_or_create_key(path: Path) -> str:
    """Return the key in the file ``path``; create the file when it is missing.

    The file appears whole or not at all, because two processes may start at once and one may die while it writes: 1. write the
    key to a draft and sync it, 2. link the draft to ``path``, which fails if another process was first, 3. read ``path``.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text().strip()
