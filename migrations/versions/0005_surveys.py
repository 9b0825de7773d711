"""Surveys: what became of each, the slot of a company, and contacts who want none

Revision: 0005, after 0004
"""

import sqlalchemy as sa
from alembic import op

import core.database.types

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_survey_contact_id", ["contact_id", "sent_at"]),
    ("ix_survey_company_id", ["company_id", "sent_at"]),
    ("ix_survey_answered_at", ["answered_at"]),
    ("ix_survey_state", ["state", "reason_code"]),
)


def upgrade() -> None:
    op.add_column("company", sa.Column("last_surveyed_at", core.database.types.UtcDateTime(), nullable=True))
    op.add_column("contact", sa.Column("surveys_off_at", core.database.types.UtcDateTime(), nullable=True))
    op.create_table(
        "survey",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ticket_id", sa.Integer(), nullable=False),
        sa.Column("opening", sa.Integer(), nullable=False),
        sa.Column("contact_id", sa.Integer(), nullable=True),
        sa.Column("company_id", sa.Integer(), nullable=True),
        sa.Column("owner_id", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("reason_code", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("slot", sa.String(), nullable=True),
        sa.Column("slot_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("due_at", core.database.types.UtcDateTime(), nullable=False),
        sa.Column("invited_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("sent_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("score", sa.Integer(), nullable=True),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("first_answered_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("answered_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.Column("created_at", core.database.types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["ticket.id"], name=op.f("fk_survey_ticket_id_ticket")),
        sa.ForeignKeyConstraint(["contact_id"], ["contact.id"], name=op.f("fk_survey_contact_id_contact")),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_survey_company_id_company")),
        sa.ForeignKeyConstraint(["owner_id"], ["staff.id"], name=op.f("fk_survey_owner_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_survey")),
        sa.UniqueConstraint("ticket_id", "opening", name=op.f("uq_survey_ticket_id_opening")),
    )
    waiting = sa.text("state = 'waiting'")
    op.create_index("ix_survey_due", "survey", ["due_at", "id"], sqlite_where=waiting, postgresql_where=waiting)
    for name, columns in INDEXES:
        op.create_index(name, "survey", columns)


def downgrade() -> None:
    op.drop_table("survey")
    op.drop_column("contact", "surveys_off_at")
    op.drop_column("company", "last_surveyed_at")
