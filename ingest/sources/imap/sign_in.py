"""Signing in to IMAP: with a password, or with a token by XOAUTH2 or OAUTHBEARER (RFC 7628).

A token that the server does not take is renewed once; when the next one is not taken either the mailbox says so, and its
watcher asks less and less often, so that no provider locks the account for the people who use it too.
"""

from __future__ import annotations

from collections.abc import Callable

from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError

from core.errors import RefusedError
from core.oauth.tokens import format_oauthbearer, format_xoauth2, token_source
from core.settings.sections import Mailbox

#: Refusals that only somebody's act can end; a watcher lets the mailbox go while it waits (``imap.MailboxWatcher``).
SIGN_IN_REFUSALS = frozenset({"token_refusal", "rejected_token", "missing_xoauth2"})
#: RFC 5530 §3: the server could not ask whoever knows; it says nothing about the token.
_UNAVAILABLE = "[UNAVAILABLE]"


def sign_in(client: IMAPClient, mailbox: Mailbox) -> None:
    """Sign in as the settings say. Raises what imapclient raises, and :class:`RefusedError`, ``TokenError`` among them."""
    if mailbox.oauth is not None and mailbox.auth == "xoauth2":
        _sign_in_with_token(client, mailbox)
        return
    password = mailbox.password.get_secret_value()
    # LOGIN takes ASCII only; PLAIN is UTF-8 (RFC 4616).
    if not (mailbox.user + password).isascii() and client.has_capability("AUTH=PLAIN"):
        client.plain_login(mailbox.user, password)
    else:
        client.login(mailbox.user, password)


def _sign_in_with_token(client: IMAPClient, mailbox: Mailbox) -> None:
    assert mailbox.oauth is not None  # noqa: S101 - asked before
    source = token_source(mailbox.oauth, mailbox.user)
    mechanism, spell, goodbye = _choose(client)
    token = source.get_token()
    if _try(client, mechanism, spell(mailbox.user, token), goodbye):
        return
    if not _try(client, mechanism, spell(mailbox.user, source.replace_rejected_token(token)), goodbye):
        raise RefusedError("rejected_token", "the server took neither the token nor a new one")


def _choose(client: IMAPClient) -> tuple[str, Callable[[str, str], str], str]:
    """The mechanism, how it spells user and token, and what ends it after a refusal (RFC 7628 §3.2.3)."""
    if client.has_capability("AUTH=XOAUTH2"):
        return "XOAUTH2", format_xoauth2, ""
    if client.has_capability("AUTH=OAUTHBEARER"):
        return "OAUTHBEARER", format_oauthbearer, "\1"
    raise RefusedError("missing_xoauth2", "the server takes no tokens (neither XOAUTH2 nor OAUTHBEARER)")


def _try(client: IMAPClient, mechanism: str, words: str, goodbye: str) -> bool:
    """Whether the server took the token. Of its challenge, which says why not, nothing is kept."""
    said: list[str] = []

    def answer(_challenge: bytes) -> str:
        said.append(goodbye if said else words)
        return said[-1]

    try:
        client._command_and_check("authenticate", mechanism, answer)
    except IMAPClientAbortError:
        raise
    except IMAPClientError as error:
        if _UNAVAILABLE in str(error):
            raise RefusedError("unavailable_sign_in", "the server cannot check tokens just now") from None
        return False
    return True
