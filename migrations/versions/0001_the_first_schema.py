"""The first schema

Revision: 0001, after None
"""

import sqlalchemy as sa
from alembic import op

import core.database.types

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blob",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", core.database.types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_blob")),
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=True),
        sa.Column("until", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("beat_at", core.database.types.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
    )
    op.create_table(
        "mailbox_cursor",
        sa.Column("mailbox", sa.String(), nullable=False),
        sa.Column("uidvalidity", sa.BigInteger(), nullable=False),
        sa.Column("first_uid", sa.BigInteger(), nullable=False),
        sa.Column("last_uid", sa.BigInteger(), nullable=False),
        sa.Column("checked_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("errors", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("left_out", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("mailbox", name=op.f("pk_mailbox_cursor")),
    )
    op.create_table(
        "outbox_fact",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("created_at", core.database.types.UtcDateTime(), nullable=False),
        sa.Column("due_at", core.database.types.UtcDateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("done_at", core.database.types.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox_fact")),
    )
    with op.batch_alter_table("outbox_fact", schema=None) as batch_op:
        batch_op.create_index("ix_outbox_fact_done_at", ["done_at"], unique=False)
        batch_op.create_index(
            "ix_outbox_fact_open",
            ["due_at", "id"],
            unique=False,
            sqlite_where=sa.text("done_at IS NULL"),
            postgresql_where=sa.text("done_at IS NULL"),
        )

    op.create_table(
        "staff",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("skills", sa.String(), nullable=False),
        sa.Column("zone", sa.String(), nullable=False),
        sa.Column("weekdays", sa.String(), nullable=False),
        sa.Column("starts", sa.Time(), nullable=False),
        sa.Column("ends", sa.Time(), nullable=False),
        sa.Column("stand_in_id", sa.Integer(), nullable=True),
        sa.Column("last_assigned_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("created_at", core.database.types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["stand_in_id"], ["staff.id"], name=op.f("fk_staff_stand_in_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff")),
        sa.UniqueConstraint("email", name=op.f("uq_staff_email")),
    )
    op.create_table(
        "suppression",
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("until", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("created_at", core.database.types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_suppression")),
    )
    op.create_table(
        "absence",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("staff_id", sa.Integer(), nullable=False),
        sa.Column("starts_at", core.database.types.UtcDateTime(), nullable=False),
        sa.Column("ends_at", core.database.types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_absence_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_absence")),
    )
    with op.batch_alter_table("absence", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_absence_staff_id"), ["staff_id"], unique=False)

    op.create_table(
        "company",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("folded", sa.String(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("account_number", sa.String(), nullable=True),
        sa.Column("manager_id", sa.Integer(), nullable=True),
        sa.Column("consultant_id", sa.Integer(), nullable=True),
        sa.Column("telemedicine", sa.Boolean(), nullable=False),
        sa.Column("created_at", core.database.types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["consultant_id"], ["staff.id"], name=op.f("fk_company_consultant_id_staff")),
        sa.ForeignKeyConstraint(["manager_id"], ["staff.id"], name=op.f("fk_company_manager_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_company")),
        sa.UniqueConstraint("account_number", name=op.f("uq_company_account_number")),
        sa.UniqueConstraint("folded", name=op.f("uq_company_folded")),
    )
    op.create_table(
        "team",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("is_default", sa.Boolean(), nullable=False),
        sa.Column("manager_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["manager_id"], ["staff.id"], name=op.f("fk_team_manager_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_team")),
        sa.UniqueConstraint("name", name=op.f("uq_team_name")),
    )
    op.create_table(
        "company_domain",
        sa.Column("domain", sa.String(), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_company_domain_company_id_company")),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_company_domain")),
    )
    with op.batch_alter_table("company_domain", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_company_domain_company_id"), ["company_id"], unique=False)

    op.create_table(
        "contact",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("email", sa.String(), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("phone", sa.String(), nullable=False),
        sa.Column("preferred_contact", sa.String(), nullable=False),
        sa.Column("company_id", sa.Integer(), nullable=True),
        sa.Column("is_admin", sa.Boolean(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("last_surveyed_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("created_at", core.database.types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_contact_company_id_company")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact")),
        sa.UniqueConstraint("email", name=op.f("uq_contact_email")),
    )
    with op.batch_alter_table("contact", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_contact_company_id"), ["company_id"], unique=False)
        batch_op.create_index("ix_contact_phone", ["phone"], unique=False)

    op.create_table(
        "team_member",
        sa.Column("team_id", sa.Integer(), nullable=False),
        sa.Column("staff_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_team_member_staff_id_staff")),
        sa.ForeignKeyConstraint(["team_id"], ["team.id"], name=op.f("fk_team_member_team_id_team")),
        sa.PrimaryKeyConstraint("team_id", "staff_id", name=op.f("pk_team_member")),
    )
    op.create_table(
        "ticket",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("pipeline", sa.String(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=True),
        sa.Column("company_id", sa.Integer(), nullable=True),
        sa.Column("requester_id", sa.Integer(), nullable=True),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("link", sa.String(), nullable=True),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("issue", sa.String(), nullable=False),
        sa.Column("issue_detail", sa.String(), nullable=False),
        sa.Column("preferred_contact", sa.String(), nullable=False),
        sa.Column("missing", sa.JSON(), nullable=False),
        sa.Column("sender_verified", sa.Boolean(), nullable=True),
        sa.Column("on_company_timeline", sa.Boolean(), nullable=False),
        sa.Column("creation_notice", sa.String(), nullable=False),
        sa.Column("follow_up_sent_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("follow_up_sent_by", sa.String(), nullable=True),
        sa.Column("resolution_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("resolution_by", sa.String(), nullable=True),
        sa.Column("recap_sent_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("recap_sent_by", sa.String(), nullable=True),
        sa.Column("opening", sa.Integer(), nullable=False),
        sa.Column("opened_at", core.database.types.UtcDateTime(), nullable=False),
        sa.Column("reminder_due_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("escalation_due_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("completed_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("created_at", core.database.types.UtcDateTime(), nullable=False),
        sa.Column("updated_at", core.database.types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["company_id"], ["company.id"], name=op.f("fk_ticket_company_id_company")),
        sa.ForeignKeyConstraint(["owner_id"], ["staff.id"], name=op.f("fk_ticket_owner_id_staff")),
        sa.ForeignKeyConstraint(["requester_id"], ["contact.id"], name=op.f("fk_ticket_requester_id_contact")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ticket")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("ticket", schema=None) as batch_op:
        batch_op.create_index("ix_ticket_company_id", ["company_id"], unique=False)
        batch_op.create_index("ix_ticket_created_at", ["created_at"], unique=False)
        batch_op.create_index(
            "ix_ticket_escalation_due_at",
            ["escalation_due_at"],
            unique=False,
            sqlite_where=sa.text("escalation_due_at IS NOT NULL"),
            postgresql_where=sa.text("escalation_due_at IS NOT NULL"),
        )
        batch_op.create_index("ix_ticket_owner_stage", ["owner_id", "stage"], unique=False)
        batch_op.create_index(
            "ix_ticket_reminder_due_at",
            ["reminder_due_at"],
            unique=False,
            sqlite_where=sa.text("reminder_due_at IS NOT NULL"),
            postgresql_where=sa.text("reminder_due_at IS NOT NULL"),
        )
        batch_op.create_index("ix_ticket_requester_id", ["requester_id"], unique=False)
        batch_op.create_index("ix_ticket_stage_created", ["stage", "created_at"], unique=False)
        batch_op.create_index("ix_ticket_stage_source", ["stage", "source"], unique=False)

    op.create_table(
        "activity",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ticket_id", sa.Integer(), nullable=False),
        sa.Column("at", core.database.types.UtcDateTime(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["ticket_id"], ["ticket.id"], name=op.f("fk_activity_ticket_id_ticket")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activity")),
    )
    with op.batch_alter_table("activity", schema=None) as batch_op:
        batch_op.create_index("ix_activity_ticket_id", ["ticket_id", "id"], unique=False)

    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("mailing", sa.String(), nullable=False),
        sa.Column("ticket_id", sa.Integer(), nullable=False),
        sa.Column("recipient", sa.String(), nullable=False),
        sa.Column("domain", sa.String(), nullable=False),
        sa.Column("outside", sa.Boolean(), nullable=False),
        sa.Column("context", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("due_at", core.database.types.UtcDateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("ambiguities", sa.Integer(), nullable=False),
        sa.Column("claim", sa.String(), nullable=True),
        sa.Column("claim_until", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("message_id", sa.String(), nullable=True),
        sa.Column("frozen", sa.LargeBinary(), nullable=True),
        sa.Column("reason_code", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("smtp_reply", sa.String(), nullable=True),
        sa.Column("tried_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("finished_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("created_at", core.database.types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["ticket.id"], name=op.f("fk_delivery_ticket_id_ticket")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("key", name=op.f("uq_delivery_key")),
    )
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.create_index(
            "ix_delivery_claim_until",
            ["claim_until"],
            unique=False,
            sqlite_where=sa.text("state IN ('claimed', 'intent')"),
            postgresql_where=sa.text("state IN ('claimed', 'intent')"),
        )
        batch_op.create_index("ix_delivery_created_at", ["created_at", "state"], unique=False)
        batch_op.create_index(
            "ix_delivery_delayed",
            ["reason_code", "domain", "id", "due_at"],
            unique=False,
            sqlite_where=sa.text("state = 'pending' AND reason_code IN ('domain_limit', 'total_limit')"),
            postgresql_where=sa.text("state = 'pending' AND reason_code IN ('domain_limit', 'total_limit')"),
        )
        batch_op.create_index("ix_delivery_domain_tried", ["domain", "tried_at"], unique=False)
        batch_op.create_index(
            "ix_delivery_due",
            ["due_at", "id"],
            unique=False,
            sqlite_where=sa.text("finished_at IS NULL AND state IN ('pending', 'ambiguous')"),
            postgresql_where=sa.text("finished_at IS NULL AND state IN ('pending', 'ambiguous')"),
        )
        batch_op.create_index("ix_delivery_recipient_tried", ["recipient", "tried_at"], unique=False)
        batch_op.create_index("ix_delivery_ticket_id", ["ticket_id"], unique=False)
        batch_op.create_index("ix_delivery_tried_at", ["tried_at"], unique=False)

    op.create_table(
        "follow_up",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("ticket_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("assignee_id", sa.Integer(), nullable=True),
        sa.Column("team_id", sa.Integer(), nullable=True),
        sa.Column("due_at", core.database.types.UtcDateTime(), nullable=False),
        sa.Column("done_at", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("created_at", core.database.types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["assignee_id"], ["staff.id"], name=op.f("fk_follow_up_assignee_id_staff")),
        sa.ForeignKeyConstraint(["team_id"], ["team.id"], name=op.f("fk_follow_up_team_id_team")),
        sa.ForeignKeyConstraint(["ticket_id"], ["ticket.id"], name=op.f("fk_follow_up_ticket_id_ticket")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_follow_up")),
        sa.UniqueConstraint("key", name=op.f("uq_follow_up_key")),
    )
    with op.batch_alter_table("follow_up", schema=None) as batch_op:
        batch_op.create_index("ix_follow_up_assignee_id", ["assignee_id", "done_at", "due_at"], unique=False)
        batch_op.create_index("ix_follow_up_ticket_id", ["ticket_id"], unique=False)

    op.create_table(
        "inbound_item",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("family", sa.String(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("received_at", core.database.types.UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("due_at", core.database.types.UtcDateTime(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("alone", sa.Boolean(), nullable=False),
        sa.Column("claim", sa.String(), nullable=True),
        sa.Column("claim_until", core.database.types.UtcDateTime(), nullable=True),
        sa.Column("disposition", sa.String(), nullable=True),
        sa.Column("reason_code", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("ticket_id", sa.Integer(), nullable=True),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("extra", sa.JSON(), nullable=False),
        sa.Column("settled_at", core.database.types.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["parent_id"], ["inbound_item.id"], name=op.f("fk_inbound_item_parent_id_inbound_item")),
        sa.ForeignKeyConstraint(["sha256"], ["blob.sha256"], name=op.f("fk_inbound_item_sha256_blob")),
        sa.ForeignKeyConstraint(["ticket_id"], ["ticket.id"], name=op.f("fk_inbound_item_ticket_id_ticket")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbound_item")),
        sa.UniqueConstraint("family", "identity", name=op.f("uq_inbound_item_family_identity")),
    )
    with op.batch_alter_table("inbound_item", schema=None) as batch_op:
        batch_op.create_index(
            "ix_inbound_item_claim_until",
            ["claim_until"],
            unique=False,
            sqlite_where=sa.text("state = 'claimed'"),
            postgresql_where=sa.text("state = 'claimed'"),
        )
        batch_op.create_index("ix_inbound_item_disposition", ["disposition", "received_at"], unique=False)
        batch_op.create_index(
            "ix_inbound_item_due",
            ["due_at", "id"],
            unique=False,
            sqlite_where=sa.text("state = 'waiting'"),
            postgresql_where=sa.text("state = 'waiting'"),
        )
        batch_op.create_index("ix_inbound_item_parent_id", ["parent_id"], unique=False)
        batch_op.create_index("ix_inbound_item_received_at", ["received_at"], unique=False)
        batch_op.create_index("ix_inbound_item_ticket_id", ["ticket_id"], unique=False)

    op.create_table(
        "ticket_contact",
        sa.Column("ticket_id", sa.Integer(), nullable=False),
        sa.Column("contact_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("on_timeline", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["contact_id"], ["contact.id"], name=op.f("fk_ticket_contact_contact_id_contact")),
        sa.ForeignKeyConstraint(["ticket_id"], ["ticket.id"], name=op.f("fk_ticket_contact_ticket_id_ticket")),
        sa.PrimaryKeyConstraint("ticket_id", "contact_id", name=op.f("pk_ticket_contact")),
    )
    with op.batch_alter_table("ticket_contact", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ticket_contact_contact_id"), ["contact_id"], unique=False)

    op.create_table(
        "ticket_thread",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("ticket_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["ticket.id"], name=op.f("fk_ticket_thread_ticket_id_ticket")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_ticket_thread")),
    )
    with op.batch_alter_table("ticket_thread", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ticket_thread_ticket_id"), ["ticket_id"], unique=False)

    op.create_table(
        "attachment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ticket_id", sa.Integer(), nullable=False),
        sa.Column("activity_id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("sniffed", sa.String(), nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("inline", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["activity_id"], ["activity.id"], name=op.f("fk_attachment_activity_id_activity")),
        sa.ForeignKeyConstraint(["sha256"], ["blob.sha256"], name=op.f("fk_attachment_sha256_blob")),
        sa.ForeignKeyConstraint(["ticket_id"], ["ticket.id"], name=op.f("fk_attachment_ticket_id_ticket")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachment")),
    )
    with op.batch_alter_table("attachment", schema=None) as batch_op:
        batch_op.create_index("ix_attachment_sha256", ["sha256"], unique=False)
        batch_op.create_index("ix_attachment_ticket_id", ["ticket_id"], unique=False)

    op.create_table(
        "mail_fingerprint",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("claimed_at", core.database.types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["inbound_item.id"], name=op.f("fk_mail_fingerprint_item_id_inbound_item")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_mail_fingerprint")),
    )
    op.create_table(
        "sighting",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("seen_at", core.database.types.UtcDateTime(), nullable=False),
        sa.Column("first", sa.Boolean(), nullable=False),
        sa.Column("note", sa.String(), nullable=True),
        sa.Column("moved_at", core.database.types.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["item_id"], ["inbound_item.id"], name=op.f("fk_sighting_item_id_inbound_item")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sighting")),
        sa.UniqueConstraint("source", "place", name=op.f("uq_sighting_source_place")),
    )
    with op.batch_alter_table("sighting", schema=None) as batch_op:
        batch_op.create_index("ix_sighting_item_id", ["item_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("sighting", schema=None) as batch_op:
        batch_op.drop_index("ix_sighting_item_id")

    op.drop_table("sighting")
    op.drop_table("mail_fingerprint")
    with op.batch_alter_table("attachment", schema=None) as batch_op:
        batch_op.drop_index("ix_attachment_ticket_id")
        batch_op.drop_index("ix_attachment_sha256")

    op.drop_table("attachment")
    with op.batch_alter_table("ticket_thread", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_ticket_thread_ticket_id"))

    op.drop_table("ticket_thread")
    with op.batch_alter_table("ticket_contact", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_ticket_contact_contact_id"))

    op.drop_table("ticket_contact")
    with op.batch_alter_table("inbound_item", schema=None) as batch_op:
        batch_op.drop_index("ix_inbound_item_ticket_id")
        batch_op.drop_index("ix_inbound_item_received_at")
        batch_op.drop_index("ix_inbound_item_parent_id")
        batch_op.drop_index(
            "ix_inbound_item_due", sqlite_where=sa.text("state = 'waiting'"), postgresql_where=sa.text("state = 'waiting'")
        )
        batch_op.drop_index("ix_inbound_item_disposition")
        batch_op.drop_index(
            "ix_inbound_item_claim_until",
            sqlite_where=sa.text("state = 'claimed'"),
            postgresql_where=sa.text("state = 'claimed'"),
        )

    op.drop_table("inbound_item")
    with op.batch_alter_table("follow_up", schema=None) as batch_op:
        batch_op.drop_index("ix_follow_up_ticket_id")
        batch_op.drop_index("ix_follow_up_assignee_id")

    op.drop_table("follow_up")
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.drop_index("ix_delivery_tried_at")
        batch_op.drop_index("ix_delivery_ticket_id")
        batch_op.drop_index("ix_delivery_recipient_tried")
        batch_op.drop_index(
            "ix_delivery_due",
            sqlite_where=sa.text("finished_at IS NULL AND state IN ('pending', 'ambiguous')"),
            postgresql_where=sa.text("finished_at IS NULL AND state IN ('pending', 'ambiguous')"),
        )
        batch_op.drop_index("ix_delivery_domain_tried")
        batch_op.drop_index(
            "ix_delivery_delayed",
            sqlite_where=sa.text("state = 'pending' AND reason_code IN ('domain_limit', 'total_limit')"),
            postgresql_where=sa.text("state = 'pending' AND reason_code IN ('domain_limit', 'total_limit')"),
        )
        batch_op.drop_index("ix_delivery_created_at")
        batch_op.drop_index(
            "ix_delivery_claim_until",
            sqlite_where=sa.text("state IN ('claimed', 'intent')"),
            postgresql_where=sa.text("state IN ('claimed', 'intent')"),
        )

    op.drop_table("delivery")
    with op.batch_alter_table("activity", schema=None) as batch_op:
        batch_op.drop_index("ix_activity_ticket_id")

    op.drop_table("activity")
    with op.batch_alter_table("ticket", schema=None) as batch_op:
        batch_op.drop_index("ix_ticket_stage_source")
        batch_op.drop_index("ix_ticket_stage_created")
        batch_op.drop_index("ix_ticket_requester_id")
        batch_op.drop_index(
            "ix_ticket_reminder_due_at",
            sqlite_where=sa.text("reminder_due_at IS NOT NULL"),
            postgresql_where=sa.text("reminder_due_at IS NOT NULL"),
        )
        batch_op.drop_index("ix_ticket_owner_stage")
        batch_op.drop_index(
            "ix_ticket_escalation_due_at",
            sqlite_where=sa.text("escalation_due_at IS NOT NULL"),
            postgresql_where=sa.text("escalation_due_at IS NOT NULL"),
        )
        batch_op.drop_index("ix_ticket_created_at")
        batch_op.drop_index("ix_ticket_company_id")

    op.drop_table("ticket")
    op.drop_table("team_member")
    with op.batch_alter_table("contact", schema=None) as batch_op:
        batch_op.drop_index("ix_contact_phone")
        batch_op.drop_index(batch_op.f("ix_contact_company_id"))

    op.drop_table("contact")
    with op.batch_alter_table("company_domain", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_company_domain_company_id"))

    op.drop_table("company_domain")
    op.drop_table("team")
    op.drop_table("company")
    with op.batch_alter_table("absence", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_absence_staff_id"))

    op.drop_table("absence")
    op.drop_table("suppression")
    op.drop_table("staff")
    with op.batch_alter_table("outbox_fact", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_outbox_fact_open", sqlite_where=sa.text("done_at IS NULL"), postgresql_where=sa.text("done_at IS NULL")
        )
        batch_op.drop_index("ix_outbox_fact_done_at")

    op.drop_table("outbox_fact")
    op.drop_table("mailbox_cursor")
    op.drop_table("lease")
    op.drop_table("blob")
