"""Django settings for the peer, django-helpdesk: as its documentation installs it, without team and API extras.

Chosen in its favour: notices off (no templates, see prepare.py), WAL instead of a rollback journal, no request cycle, no
logging, no debug. SQLite's synchronous=FULL and PostgreSQL's defaults are what casemill has too.
"""

import os

SECRET_KEY = "only for measuring"  # noqa: S105 - guards nothing
DEBUG = False
USE_TZ = True
SITE_ID = 1
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.sites",
    "django.contrib.humanize",
    "helpdesk",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
ROOT_URLCONF = "urls"
MEDIA_ROOT = os.environ["PEER_MEDIA"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
LOGGING_CONFIG = None
HELPDESK_TEAMS_MODE_ENABLED = False
HELPDESK_KANBAN_ENABLED = False
QUEUE_EMAIL_BOX_USER = os.environ.get("PEER_USER", "")


def _database() -> dict[str, object]:
    if os.environ["PEER_DATABASE"].startswith("/"):
        pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["PEER_DATABASE"],
            "OPTIONS": {"init_command": pragmas, "transaction_mode": "IMMEDIATE"},
        }
    user, password, port, name = os.environ["PEER_DATABASE"].split(":")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": user,
        "PASSWORD": password,
        "HOST": "127.0.0.1",
        "PORT": port,
    }


DATABASES = {"default": _database()}
