"""The line above which our mails ask people to write. The templates put it there, and the parser of replies looks for it.

A reply that quotes our mail is cut at this line, whatever the program that quoted it wrote above it, in whatever language.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Language → the words; mails in any of them are known, since templates may be translated.
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
    """The words between dashes, on one line. Raises KeyError for a language that has none."""
    return f"--- {SEPARATORS[language]} ---"
