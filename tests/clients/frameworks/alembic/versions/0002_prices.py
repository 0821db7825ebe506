"""Books get a price: a column, a default for those that are there, an index."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.add_column("books", sa.Column("price", sa.Numeric(10, 2)))
    op.add_column("books", sa.Column("about", sa.JSON))
    op.execute("UPDATE books SET price = 9.99 WHERE price IS NULL")
    op.alter_column("books", "price", existing_type=sa.Numeric(10, 2), nullable=False, server_default="0.00")
    op.create_index("books_by_price", "books", ["price", "title"])


def downgrade():
    op.drop_index("books_by_price", "books")
    op.drop_column("books", "about")
    op.drop_column("books", "price")
