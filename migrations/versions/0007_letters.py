"""Templates for what staff write to customers, in versions

Revision: 0007, after 0006
"""

import sqlalchemy as sa
from alembic import op

import core.database.types

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "message_template",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("folder", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", core.database.types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message_template")),
        sa.UniqueConstraint("name", name=op.f("uq_message_template_name")),
    )
    op.create_table(
        "message_template_version",
        sa.Column("template_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("written_by", sa.String(), nullable=False),
        sa.Column("written_at", core.database.types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["template_id"], ["message_template.id"], name=op.f("fk_message_template_version_template_id_message_template")
        ),
        sa.PrimaryKeyConstraint("template_id", "number", name=op.f("pk_message_template_version")),
    )


def downgrade() -> None:
    op.drop_table("message_template_version")
    op.drop_table("message_template")
