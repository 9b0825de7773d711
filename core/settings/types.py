"""What sections of the configuration are made of: strict sections, secrets by reference, safe addresses, time zones."""

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
    """Frozen, and no key it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _resolve(value: object, info: ValidationInfo) -> object:
    """``env:NAME`` and ``file:PATH`` become the secret they name; anything else is the secret itself."""
    if not isinstance(value, str):
        return value
    environ: Mapping[str, str] = (info.context or {}).get("environ", os.environ)
    if value.startswith("env:"):
        name = value.removeprefix("env:")
        if not environ.get(name):
            raise ValueError(f"the secret is missing: environment variable {name} is not set")
        return environ[name]
    if value.startswith("file:"):
        return _secret_in(Path(value.removeprefix("file:")))
    return value


def _secret_in(path: Path) -> str:
    try:
        secret = path.read_text("utf-8").strip()
    except OSError as error:
        raise ValueError(f"the secret is missing: {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"the secret cannot be read: {path} is not UTF-8 text") from None
    if not secret:
        raise ValueError(f"the secret is missing: {path} is empty")
    return secret


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError(f"{value!r} is no time zone; write one like America/New_York") from None
    return value


Secret = Annotated[SecretStr, BeforeValidator(_resolve)]
#: An address of a server that may hold its password.
SecretUrl = Annotated[str, BeforeValidator(_resolve), Field(repr=False)]
Zone = Annotated[str, AfterValidator(_zone)]
LowerStr = Annotated[str, AfterValidator(str.lower)]


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine, so that plain text does not leave it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_safe(url: str) -> bool:
    """Whether what is sent to ``url`` is encrypted, or stays on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


def _safe_url(value: str) -> str:
    if value and not _is_safe(value):
        raise ValueError("the address must begin with https:// (http:// is for this machine only)")
    return value.rstrip("/")


#: An address that secrets are sent to.
SafeUrl = Annotated[str, AfterValidator(_safe_url)]
