"""Lists of open tickets and tasks stay quick, staff may want a digest, and a delivery need not be about one ticket

Revision: 0003, after 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_ticket_waiting", "ticket", ["id"], "owner_id IS NULL OR stage < 6"),
    ("ix_follow_up_open", "follow_up", ["due_at", "id"], "done_at IS NULL"),
    ("ix_follow_up_done_at", "follow_up", ["done_at"], "done_at IS NOT NULL"),
)


def upgrade() -> None:
    for name, table, columns, condition in INDEXES:
        op.create_index(name, table, columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))
    op.add_column("staff", sa.Column("digest", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.alter_column("ticket_id", existing_type=sa.Integer(), nullable=True)


def downgrade() -> None:
    op.execute("DELETE FROM delivery WHERE ticket_id IS NULL")
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.alter_column("ticket_id", existing_type=sa.Integer(), nullable=False)
    op.drop_column("staff", "digest")
    for name, table, _, _ in reversed(INDEXES):
        op.drop_index(name, table_name=table)
