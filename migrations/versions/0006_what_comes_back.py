"""What comes back about our mail, links between tickets, blocks by scope, and notices that staff let go

Revision: 0006, after 0005
"""

import sqlalchemy as sa
from alembic import op

import core.database.types

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("ticket", sa.Column("human_at", core.database.types.UtcDateTime(), nullable=True))
    op.add_column("ticket", sa.Column("merged_into", sa.Integer(), nullable=True))
    taken = sa.text("merged_into IS NOT NULL")
    op.create_index("ix_ticket_merged_into", "ticket", ["merged_into"], sqlite_where=taken, postgresql_where=taken)
    op.add_column("delivery", sa.Column("released_by", sa.String(), nullable=True))
    op.create_table(
        "ticket_link",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ticket_id", sa.Integer(), nullable=False),
        sa.Column("other_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("created_at", core.database.types.UtcDateTime(), nullable=False),
        sa.Column("settled_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("settled_by", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["ticket_id"], ["ticket.id"], name=op.f("fk_ticket_link_ticket_id_ticket")),
        sa.ForeignKeyConstraint(["other_id"], ["ticket.id"], name=op.f("fk_ticket_link_other_id_ticket")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ticket_link")),
        sa.UniqueConstraint("ticket_id", "other_id", "kind", name=op.f("uq_ticket_link_ticket_id_other_id_kind")),
    )
    op.create_index("ix_ticket_link_other_id", "ticket_link", ["other_id"])
    op.create_table(
        "delivery_report",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("delivery_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("permanent", sa.Boolean(), nullable=False),
        sa.Column("at", core.database.types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_delivery_report_delivery_id_delivery")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_report")),
        sa.UniqueConstraint("item_id", name=op.f("uq_delivery_report_item_id")),
    )
    op.create_index("ix_delivery_report_delivery_id", "delivery_report", ["delivery_id"])
    with op.batch_alter_table("suppression", schema=None) as batch_op:
        batch_op.add_column(sa.Column("scope", sa.String(), nullable=False, server_default="automatic"))
        batch_op.drop_constraint("pk_suppression", type_="primary")
        batch_op.create_primary_key("pk_suppression", ["address", "scope"])
    with op.batch_alter_table("suppression", schema=None) as batch_op:
        batch_op.alter_column("scope", server_default=None)


def downgrade() -> None:
    op.execute("DELETE FROM suppression WHERE scope <> 'automatic'")
    with op.batch_alter_table("suppression", schema=None) as batch_op:
        batch_op.drop_constraint("pk_suppression", type_="primary")
        batch_op.create_primary_key("pk_suppression", ["address"])
        batch_op.drop_column("scope")
    op.drop_index("ix_delivery_report_delivery_id", table_name="delivery_report")
    op.drop_table("delivery_report")
    op.drop_index("ix_ticket_link_other_id", table_name="ticket_link")
    op.drop_table("ticket_link")
    op.drop_column("delivery", "released_by")
    op.drop_index("ix_ticket_merged_into", table_name="ticket")
    op.drop_column("ticket", "merged_into")
    op.drop_column("ticket", "human_at")
