"""Expected errors of a command: a sentence, a hint and an exit code instead of a traceback."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from typer.core import TyperGroup

if TYPE_CHECKING:
    from core.errors import CasemillError

#: Undefined table and column (PostgreSQL manual, Appendix A).
UNDEFINED_SQLSTATES = ("42P01", "42703")


class RootGroup(TyperGroup):
    """The root command: reports the expected errors of all commands below it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader of the output, such as `head`, has closed it: no error to report.
            raise
        except Exception as error:
            expected = to_expected_error(error)
            if expected is None:
                raise
            from cli.console import report_errors

            with report_errors():
                raise expected from None


def to_expected_error(error: Exception) -> CasemillError | OSError | None:
    """Return an expected error in a form that carries a hint; None for a mistake in the program."""
    from core.errors import CasemillError

    if isinstance(error, CasemillError | OSError):
        return error
    if "sqlalchemy" in sys.modules:
        return _from_database_error(error)
    return None


def _from_database_error(error: Exception) -> CasemillError | None:
    """Return an error for the usual failures of a database. The driver's text is left out: it may quote values of a row."""
    from sqlalchemy.exc import ArgumentError, OperationalError, ProgrammingError
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError

    from core.errors import CasemillError, ConfigurationError

    if isinstance(error, OperationalError | PoolTimeoutError):
        return CasemillError(
            "the database does not answer, or cannot be written",
            hint="check that it is running and that its disk is not full; `casemill doctor` shows details",
        )
    if isinstance(error, ProgrammingError) and getattr(error.orig, "sqlstate", None) in UNDEFINED_SQLSTATES:
        return CasemillError("the database does not have this version's tables", hint="run `casemill migrate`")
    if isinstance(error, ArgumentError):
        return ConfigurationError(
            "this is not the URL of a database",
            key="database_url",
            hint="write sqlite:///path/to/file.db or postgresql://user:password@host/name",
        )
    return None
