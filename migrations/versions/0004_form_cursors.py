"""How far the own list of each form has been read

Revision: 0004, after 0003
"""

import sqlalchemy as sa
from alembic import op

from core.database.types import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "form_cursor",
        sa.Column("form", sa.String(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("read_until", UtcDateTime(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("checked_at", UtcDateTime(), nullable=True),
        sa.Column("errors", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.Column("missed_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("form", name=op.f("pk_form_cursor")),
    )


def downgrade() -> None:
    op.drop_table("form_cursor")
