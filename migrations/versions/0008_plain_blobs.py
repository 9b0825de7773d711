"""Blobs are kept as they came: PostgreSQL's own compression of them was a third of what it did for a mail

Revision: 0008, after 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE blob ALTER COLUMN content SET STORAGE EXTERNAL")  # rows that are there stay as they are


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE blob ALTER COLUMN content SET STORAGE EXTENDED")
