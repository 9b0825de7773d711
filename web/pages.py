"""Renders pages on the server: nothing is loaded from elsewhere, and a nonce admits the page's own style and script."""

from __future__ import annotations

import secrets
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

TEMPLATES = Path(__file__).resolve().parent.parent / "templates" / "web"
_POLICY = (
    "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action {forms}; frame-ancestors 'none'"
)


class Pages:
    """The templates of ``templates/web``. All values are escaped; a missing variable is an error."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )

    def render(self, template: str, status: int = 200, *, has_form: bool = False, **values: object) -> Response:
        """Return the page with its Content-Security-Policy. ``has_form`` lets its forms post to this site."""
        nonce = secrets.token_urlsafe(18)
        text = self._templates.get_template(template).render(nonce=nonce, **values)
        policy = _POLICY.format(nonce=nonce, forms="'self'" if has_form else "'none'")
        return HTMLResponse(text, status, {"content-security-policy": policy})
