"""Value types of the settings: strict sections, secrets by reference, safe addresses, time zones."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
)


class Section(BaseModel):
    """Base of all sections: frozen, and refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _resolve_secret(value: object, info: ValidationInfo) -> object:
    """Return the secret that ``env:NAME`` or ``file:PATH`` names; any other text is the secret itself."""
    if not isinstance(value, str):
        return value
    environ: Mapping[str, str] = (info.context or {}).get("environ", os.environ)
    if value.startswith("env:"):
        name = value.removeprefix("env:")
        if not environ.get(name):
            raise ValueError(f"the secret is missing: environment variable {name} is not set")
        return environ[name]
    if value.startswith("file:"):
        return _read_secret(Path(value.removeprefix("file:")))
    return value


def _read_secret(path: Path) -> str:
    try:
        secret = path.read_text("utf-8").strip()
    except OSError as error:
        raise ValueError(f"the secret is missing: {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"the secret cannot be read: {path} is not UTF-8 text") from None
    if not secret:
        raise ValueError(f"the secret is missing: {path} is empty")
    return secret


def _require_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{value!r} is no time zone; write a name such as America/New_York") from None
    return value


Secret = Annotated[SecretStr, BeforeValidator(_resolve_secret)]
#: A server's address, which may contain a password; it may also be a reference to a secret.
SecretUrl = Annotated[str, BeforeValidator(_resolve_secret), Field(repr=False)]
Zone = Annotated[str, AfterValidator(_require_zone)]
LowerStr = Annotated[str, AfterValidator(str.lower)]


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this machine, so that plain text does not leave it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_safe(url: str) -> bool:
    """Return whether a connection to ``url`` is encrypted or stays on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


def _require_safe_url(value: str) -> str:
    if value and not _is_safe(value):
        raise ValueError("the address must begin with https:// (http:// is for this machine only)")
    return value.rstrip("/")


#: An address to which secrets are sent.
SafeUrl = Annotated[str, AfterValidator(_require_safe_url)]
