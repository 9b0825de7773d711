"""The configuration of the sample world, as TOML text."""

from __future__ import annotations

import json
from pathlib import Path

from core.settings.sections import Team

DOMAIN = "casemill.example"
SUPPORT = f"support@{DOMAIN}"
FORM_ID = "5512345"
SIGNATURE_KEY = "demo-hmac-key"
TELEMEDICINE_PERSON = f"jennifer.marsh@{DOMAIN}"

TEAMS = {
    "billing-support": Team(
        title="PMB Support",
        default=True,
        manager=f"ruth.calder@{DOMAIN}",
        members=[
            f"{name}@{DOMAIN}"
            for name in ("omar.haddad", "lena.fischer", "priya.nair", "tomas.vega", "grace.okafor", "sam.whitlock")
        ],
    ),
    "onboarding-telemedicine": Team(
        title="CSC Onboarding Telemedicine",
        manager=f"neil.arden@{DOMAIN}",
        members=[TELEMEDICINE_PERSON, f"yuki.tanaka@{DOMAIN}"],
    ),
}

_TEMPLATE = """\
# The sample world of casemill. All data is under data_dir: an SQLite file, and sent mail in a Maildir.
data_dir = {data_dir}
env = "development"

[notices]
domain = "{domain}"
sender = "{support}"
sender_name = "Billing Support"
own_addresses = ["{support}"]

[forms.{form_id}]
name = "Billing support request"
# Formstack signs its requests with this key. With a handshake_key, every request would need that as well.
signature_keys = ["{signature_key}"]
category = "Billing"

# A webhook sends labels, API names or field ids, as it is configured. This form is read with all three.
[forms.{form_id}.labels]
practice_name = "company"
contact = "requester_name"
email = "requester_email"
phone = "phone"
type_of_request = "category"
details = "details"
"Practice Name" = "company"
"Contact" = "requester_name"
"Email" = "requester_email"
"Phone" = "phone"
"Type of Request" = "category"
"Details" = "details"
172000001 = "company"
172000002 = "requester_name"
172000003 = "requester_email"
172000005 = "category"

[folders.secure_messages]
path = {drop}
settle_seconds = 0.5
poll_seconds = 1.0
category = "Secure message"

[folders.mail]
path = {mail}
settle_seconds = 0.5
poll_seconds = 1.0

[routing.telemedicine]
person = "{telemedicine_person}"
team = "onboarding-telemedicine"

[[routing.rules]]
keyword = "credentialing"
person = "yuki.tanaka@{domain}"

[[routing.rules]]
category = "Denials"
person = "priya.nair@{domain}"

[[routing.rules]]
source = "secure_message"
team = "billing-support"

{teams}"""


def render_settings(data_dir: Path) -> str:
    """Return the text of ``casemill.toml`` for a sample world under ``data_dir``, with the watched folders drop and mail."""
    return _TEMPLATE.format(
        data_dir=_quote(str(data_dir)),
        drop=_quote(str(data_dir / "drop")),
        mail=_quote(str(data_dir / "mail")),
        domain=DOMAIN,
        support=SUPPORT,
        form_id=FORM_ID,
        signature_key=SIGNATURE_KEY,
        telemedicine_person=TELEMEDICINE_PERSON,
        teams="\n".join(_team_toml(name, team) for name, team in TEAMS.items()),
    )


def _team_toml(name: str, team: Team) -> str:
    lines = [f"[teams.{name}]", f"title = {_quote(team.title)}"]
    if team.default:
        lines.append("default = true")
    if team.manager:
        lines.append(f"manager = {_quote(team.manager)}")
    return "\n".join([*lines, "members = [", *(f"  {_quote(member)}," for member in team.members), "]", ""])


def _quote(text: str) -> str:
    """Return a TOML basic string. JSON's escapes are valid in TOML (toml.io, String), unless they are surrogates."""
    return json.dumps(text, ensure_ascii=False)
