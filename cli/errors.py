"""How a command ends when something expected goes wrong: a sentence, its mend and an exit code, never a traceback."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from typer.core import TyperGroup

if TYPE_CHECKING:
    from core.errors import CasemillError

#: Undefined table and column (PostgreSQL manual, Appendix A).
UNDEFINED_SQLSTATES = ("42P01", "42703")


class RootGroup(TyperGroup):
    """The root command: whatever a command below it raises that can be expected is told in words."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever read the output has seen enough
        except Exception as error:
            told = to_expected_error(error)
            if told is None:
                raise
            from cli.console import report_errors

            with report_errors():
                raise told from None


def to_expected_error(error: Exception) -> CasemillError | OSError | None:
    """An error that can be expected, as one that names its mend; None for a mistake in the program."""
    from core.errors import CasemillError

    if isinstance(error, CasemillError | OSError):
        return error
    if "sqlalchemy" in sys.modules:
        return _from_database_error(error)
    return None


def _from_database_error(error: Exception) -> CasemillError | None:
    """The driver's text is left out: it may quote values of a statement."""
    from sqlalchemy.exc import ArgumentError, OperationalError, ProgrammingError
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError

    from core.errors import CasemillError, ConfigurationError

    if isinstance(error, OperationalError | PoolTimeoutError):
        return CasemillError(
            "the database does not answer, or cannot be written",
            hint="see that it is running and that its disk has room; `casemill doctor` tells more",
        )
    if isinstance(error, ProgrammingError) and getattr(error.orig, "sqlstate", None) in UNDEFINED_SQLSTATES:
        return CasemillError("the database does not have this version's tables", hint="run `casemill migrate`")
    if isinstance(error, ArgumentError):
        return ConfigurationError(
            "no database is reached that way",
            key="database_url",
            hint="write sqlite:///path/to/file.db or postgresql://user:password@host/name",
        )
    return None
