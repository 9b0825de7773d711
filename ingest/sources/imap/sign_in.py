"""Sign in to an IMAP server with a password, or with a token by XOAUTH2 or OAUTHBEARER (RFC 7628).

A token that the server rejects is renewed once. After a second rejection the mailbox's watcher backs off, so that the provider
does not lock the account, which people use too.
"""

from __future__ import annotations

from collections.abc import Callable

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError

from core.errors import RefusedError
from core.oauth.tokens import format_oauthbearer, format_xoauth2, token_source
from core.settings.sections import Mailbox

#: Refusals that an operator has to resolve. The watcher releases the mailbox's lease while it waits (``MailboxWatcher``).
SIGN_IN_REFUSALS = frozenset({"token_refusal", "rejected_token", "missing_xoauth2"})
#: RFC 5530 §3: the server could not reach its sign-in service; this says nothing about the token.
_UNAVAILABLE = "[UNAVAILABLE]"


def sign_in(client: IMAPClient, mailbox: Mailbox) -> None:
    """Sign in with the mailbox's password or token.

    Raises what imapclient raises, and :class:`RefusedError`, among them ``TokenError``.
    """
    if mailbox.oauth is not None and mailbox.auth == "xoauth2":
        _sign_in_with_token(client, mailbox)
        return
    password = mailbox.password.get_secret_value()
    # LOGIN accepts only ASCII; PLAIN is UTF-8 (RFC 4616).
    if not (mailbox.user + password).isascii() and client.has_capability("AUTH=PLAIN"):
        client.plain_login(mailbox.user, password)
    else:
        client.login(mailbox.user, password)


def _sign_in_with_token(client: IMAPClient, mailbox: Mailbox) -> None:
    assert mailbox.oauth is not None  # noqa: S101 - sign_in calls this only with oauth settings
    source = token_source(mailbox.oauth, mailbox.user)
    mechanism, format_response, abort_response = _choose_mechanism(client)
    token = source.get_token()
    if _authenticate(client, mechanism, format_response(mailbox.user, token), abort_response):
        return
    new_token = source.replace_rejected_token(token)
    if not _authenticate(client, mechanism, format_response(mailbox.user, new_token), abort_response):
        raise RefusedError("rejected_token", "the mail server rejected the token and the new token after it")


def _choose_mechanism(client: IMAPClient) -> tuple[str, Callable[[str, str], str], str]:
    """Return the mechanism, the function that formats its response, and the response that ends a failed exchange.

    The last is RFC 7628 §3.2.3.
    """
    if client.has_capability("AUTH=XOAUTH2"):
        return "XOAUTH2", format_xoauth2, ""
    if client.has_capability("AUTH=OAUTHBEARER"):
        return "OAUTHBEARER", format_oauthbearer, "\1"
    raise RefusedError("missing_xoauth2", "the mail server accepts no tokens: it offers neither XOAUTH2 nor OAUTHBEARER")


def _authenticate(client: IMAPClient, mechanism: str, response: str, abort_response: str) -> bool:
    """Return whether the server accepted the token. Its challenge, which explains a refusal, is discarded."""
    sent: list[str] = []

    def respond(_challenge: bytes) -> str:
        sent.append(abort_response if sent else response)
        return sent[-1]

    try:
        client._command_and_check("authenticate", mechanism, respond)
    except IMAPClientAbortError:
        raise
    except IMAPClientError as error:
        if _UNAVAILABLE in str(error):
            raise RefusedError("unavailable_sign_in", "the mail server cannot check tokens at the moment") from None
        return False
    return True
