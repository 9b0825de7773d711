"""Tickets of a stage in the order of their numbers: the list of completed ones sorted all of them for its first page

Revision: 0010, after 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_ticket_stage_created", table_name="ticket")
    op.create_index("ix_ticket_stage_id", "ticket", ["stage", "id"])


def downgrade() -> None:
    op.drop_index("ix_ticket_stage_id", table_name="ticket")
    op.create_index("ix_ticket_stage_created", "ticket", ["stage", "created_at"])
