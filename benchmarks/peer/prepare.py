"""Makes the peer's tables and one queue that reads the mailbox; run once, the result is copied for each run.

Without mail templates django-helpdesk sends nothing and renders nothing: its fastest way to have no notices.
"""

import os

import django
from django.core.management import call_command

django.setup()
call_command("migrate", verbosity=0)

from helpdesk.models import EmailTemplate, Queue  # noqa: E402 - needs the setup above

EmailTemplate.objects.all().delete()
Queue.objects.create(
    title="Billing Support",
    slug="support",
    email_address="support@mill.example",
    allow_email_submission=True,
    email_box_type="imap",
    email_box_host="localhost",
    email_box_port=int(os.environ["PEER_PORT"]),
    email_box_pass=os.environ["PEER_PASSWORD"],
    email_box_imap_folder="INBOX",
    email_box_interval=0,
    logging_type="none",
)
