"""Indexes without the rows that nobody looks for by them: most are written while the column is still empty, and again with its value

Revision: 0011, after 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

#: Each leaves out what has nothing in the column named last.
INDEXES = (
    ("ix_inbound_item_disposition", "inbound_item", ["disposition", "received_at"], "disposition"),
    ("ix_inbound_item_parent_id", "inbound_item", ["parent_id"], "parent_id"),
    ("ix_inbound_item_ticket_id", "inbound_item", ["ticket_id"], "ticket_id"),
    ("ix_outbox_fact_done_at", "outbox_fact", ["done_at"], "done_at"),
    ("ix_delivery_recipient_tried", "delivery", ["recipient", "tried_at"], "tried_at"),
    ("ix_delivery_domain_tried", "delivery", ["domain", "tried_at"], "tried_at"),
    ("ix_delivery_tried_at", "delivery", ["tried_at"], "tried_at"),
)


def upgrade() -> None:
    for name, table, columns, present in INDEXES:
        condition = sa.text(f"{present} IS NOT NULL")
        op.drop_index(name, table_name=table)
        op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)


def downgrade() -> None:
    for name, table, columns, _ in INDEXES:
        op.drop_index(name, table_name=table)
        op.create_index(name, table, columns)
