"""PostgreSQL compresses large values with LZ4 where it can, else not at all

Its own method takes three times as long as all the rest of keeping a mail (benchmarks/README.md). Rows that are there stay
as they are; both kinds are read alike.

Revision: 0002, after 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = (("blob", "content"), ("delivery", "frozen"))
#: A server may have been built without LZ4, or be older than PostgreSQL 14.
CHANGE = """
DO $$ BEGIN
  EXECUTE 'ALTER TABLE {table} ALTER COLUMN {column} SET COMPRESSION lz4';
EXCEPTION WHEN feature_not_supported OR syntax_error OR invalid_parameter_value THEN
  EXECUTE 'ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL';
END $$
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table, column in COLUMNS:
            op.execute(CHANGE.format(table=table, column=column))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table, column in COLUMNS:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET COMPRESSION default")
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTENDED")
