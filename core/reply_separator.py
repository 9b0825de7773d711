"""The reply separator: the line above which our mails ask their recipients to write.

The templates print it, and the reply parser cuts a reply that quotes our mail at this line, in all languages below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Language → text of the separator. The parser knows all of them, since templates may be translated.
SEPARATORS: Final[Mapping[str, str]] = {
    "en": "Please write your reply above this line",
    "de": "Bitte schreiben Sie Ihre Antwort über diese Zeile",
    "fr": "Veuillez écrire votre réponse au-dessus de cette ligne",
    "es": "Escriba su respuesta encima de esta línea",
    "pt": "Escreva a sua resposta acima desta linha",
    "it": "Scriva la Sua risposta sopra questa riga",
    "nl": "Schrijf uw antwoord boven deze regel",
    "pl": "Prosimy napisać odpowiedź powyżej tej linii",
}


def separator_line(language: str = "en") -> str:
    """Return the separator as it stands in a mail: its text between dashes. Raises KeyError for an unknown ``language``."""
    return f"--- {SEPARATORS[language]} ---"
