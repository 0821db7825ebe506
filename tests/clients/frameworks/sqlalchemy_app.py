"""SQLAlchemy's ORM with Alembic's migrations, over PyMySQL or mysql-connector-python (`--driver`).

Each check prints one JSON line, as interpreter.py does. With `--work` it prints `{"working": true}` and then keeps
writing and reading until its standard input ends; the last line says how many rounds and which errors there were.

Never here: what a result should be. The runner compares two runs.
"""

import argparse
import datetime
import decimal
import importlib.metadata
import json
import os
import sys
import threading

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import orm

BATCH = 25


class Base(orm.DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "authors"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(80), unique=True)
    born: orm.Mapped[datetime.date | None]
    books: orm.Mapped[list["Book"]] = orm.relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "books"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    author_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("authors.id"))
    title: orm.Mapped[str] = orm.mapped_column(sa.String(200))
    price: orm.Mapped[decimal.Decimal] = orm.mapped_column(sa.Numeric(10, 2))
    about: orm.Mapped[dict | None] = orm.mapped_column(sa.JSON)
    author: orm.Mapped[Author] = orm.relationship(back_populates="books")


def migrate(engine, direction, revision):
    config = Config()
    config.set_main_option("script_location", os.path.join(os.path.dirname(os.path.abspath(__file__)), "alembic"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        getattr(command, direction)(config, revision)
        connection.commit()


def schema(engine):
    """What an inspection tells of all tables."""
    inspector = sa.inspect(engine)
    told = {}
    for table in sorted(inspector.get_table_names()):
        if not table.startswith("t_"):
            columns = [[column["name"], str(column["type"]), column["nullable"], column["default"]] for column in inspector.get_columns(table)]
            keys = inspector.get_foreign_keys(table)
            told[table] = [columns, inspector.get_indexes(table), keys, inspector.get_pk_constraint(table)]
    return told


def make(session, name, books):
    author = Author(name=name, born=datetime.date(1900, 2, 28))
    author.books = [Book(title=f"{name} {n}", price=decimal.Decimal(n) / 4, about={"n": n, "tags": ["a", None]}) for n in range(books)]
    session.add(author)
    session.flush()
    return author


def checks(engine):
    """Name and function of each check, in order: later ones use what earlier ones left."""
    session = orm.sessionmaker(engine)

    def committed():
        with session.begin() as work:
            author = make(work, "Ann", 3)
            return [author.id, [book.id for book in author.books]]

    def rolled_back():
        with session() as work:
            make(work, "Bob", 2)
            work.rollback()
            return work.scalar(sa.select(sa.func.count()).select_from(Author))

    def savepoints():
        with session.begin() as work:
            make(work, "Cid", 1)
            try:
                with work.begin_nested():
                    make(work, "Ann", 1)
            except sa.exc.IntegrityError as error:
                text = str(error.orig.args)
            with work.begin_nested():
                make(work, "Dee", 1)
        with session() as work:
            return [text, work.scalars(sa.select(Author.name).order_by(Author.id)).all()]

    def bulk_insert():
        with session.begin() as work:
            ann = work.scalars(sa.select(Author).filter_by(name="Ann")).one()
            rows = [{"author_id": ann.id, "title": f"bulk {n}", "price": n, "about": None} for n in range(500)]
            work.execute(sa.insert(Book), rows)
        with session() as work:
            return work.execute(sa.select(sa.func.count(), sa.func.sum(Book.price)).select_from(Book)).one()

    def bulk_update_and_delete():
        with session.begin() as work:
            raised = work.execute(sa.update(Book).where(Book.price > 400).values(price=Book.price + 1)).rowcount
            gone = work.execute(sa.delete(Book).where(Book.title.like("bulk 1%"))).rowcount
            return [raised, gone]

    def streaming():
        with session() as work:
            books = work.scalars(sa.select(Book).order_by(Book.id).execution_options(yield_per=50))
            return [[book.title, str(book.price)] for book in books][::40]

    def joined_loading():
        with session() as work:
            authors = work.scalars(sa.select(Author).options(orm.selectinload(Author.books)).order_by(Author.id))
            return [[author.name, len(author.books), str(author.born)] for author in authors]

    def locking():
        with session.begin() as work:
            author = work.scalars(sa.select(Author).filter_by(name="Cid").with_for_update()).one()
            author.name = "Cidney"
        with session() as work:
            return work.scalars(sa.select(Author.name).where(Author.name.like("Cid%"))).all()

    def upsert():
        from sqlalchemy.dialects.mysql import insert

        with session.begin() as work:
            statement = insert(Author).values(name="Ann", born=datetime.date(2000, 1, 1))
            statement = statement.on_duplicate_key_update(born=statement.inserted.born)
            return work.execute(statement).rowcount

    def serializable():
        with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
            with connection.begin():
                level = connection.scalar(sa.text("SELECT @@transaction_isolation"))
                return [level, connection.scalar(sa.select(sa.func.count()).select_from(Author))]

    def autocommit():
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.insert(Author).values(name="Eve"))
            return connection.scalar(sa.select(sa.func.count()).select_from(Author))

    def read_after_write():
        seen = []
        for n in range(20):
            with session.begin() as work:
                work.add(Author(name=f"fresh {n}"))
            with session() as work:
                seen.append(work.scalar(sa.select(sa.func.count()).where(Author.name == f"fresh {n}")))
        return seen

    def error_in_transaction():
        with session() as work:
            try:
                work.execute(sa.text("INSERT INTO authors (id, name) VALUES (1, 'again')"))
            except sa.exc.IntegrityError as error:
                work.rollback()
                return [str(error.orig.args), work.scalar(sa.text("SELECT 1"))]

    def pooled_threads():
        def work(n):
            for _ in range(5):
                with session.begin() as own:
                    own.add(Book(author_id=1, title=f"thread {n}", price=1))

        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        with session() as own:
            return own.scalar(sa.select(sa.func.count()).where(Book.title.like("thread %")))

    return [
        ("upgrade_to_first", lambda: migrate(engine, "upgrade", "0001")),
        ("schema_of_first", lambda: schema(engine)),
        ("upgrade_to_head", lambda: migrate(engine, "upgrade", "head")),
        ("schema_of_head", lambda: schema(engine)),
        *[(check.__name__, check) for check in (
            committed, rolled_back, savepoints, bulk_insert, bulk_update_and_delete, streaming, joined_loading, locking,
            upsert, serializable, autocommit, read_after_write, error_in_transaction, pooled_threads,
        )],
        ("downgrade_by_one", lambda: migrate(engine, "downgrade", "-1")),
        ("schema_after_downgrade", lambda: schema(engine)),
        ("upgrade_again", lambda: migrate(engine, "upgrade", "head")),
        ("downgrade_to_nothing", lambda: migrate(engine, "downgrade", "base")),
        ("schema_of_nothing", lambda: schema(engine)),
    ]


def work_until_told(engine):
    """Transactions, savepoints, bulk inserts and streams, and what they left behind, until standard input ends."""
    migrate(engine, "upgrade", "head")
    session = orm.sessionmaker(engine)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    print(json.dumps({"working": True}), flush=True)
    rounds, errors = 0, []
    while not ended.is_set():
        try:
            with session.begin() as work:
                author_id = make(work, f"author {rounds}", 2).id
                with work.begin_nested():
                    rows = [{"author_id": author_id, "title": f"{n}", "price": n} for n in range(BATCH)]
                    work.execute(sa.insert(Book), rows)
            with session() as work:
                books = work.scalars(sa.select(Book).filter_by(author_id=author_id).execution_options(yield_per=10))
                seen = len(list(books))
            if seen != BATCH + 2:
                errors.append(f"round {rounds} sees {seen} books")
            rounds += 1
        except Exception as error:  # drivers also fail by IndexError and the like
            errors.append(repr(error)[:500])
    with session() as work:
        authors = work.scalar(sa.select(sa.func.count()).select_from(Author))
        books = work.scalar(sa.select(sa.func.count()).select_from(Book))
    if (authors, books) != (rounds, rounds * (BATCH + 2)):
        errors.append(f"{rounds} rounds left {authors} authors and {books} books")
    print(json.dumps({"rounds": rounds, "errors": errors[:20]}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", default="clients")
    parser.add_argument("--password", default="")
    parser.add_argument("--database", default="clients")
    parser.add_argument("--driver", default="pymysql", choices=["pymysql", "mysqlconnector"])
    parser.add_argument("--work", action="store_true")
    given = parser.parse_args()
    url = sa.URL.create(f"mysql+{given.driver}", given.user, given.password, given.host, given.port, given.database)
    engine = sa.create_engine(url, pool_size=3, pool_pre_ping=True)
    if given.work:
        return work_until_told(engine)
    version = f"SQLAlchemy {sa.__version__}, Alembic {importlib.metadata.version('alembic')}, {given.driver}"
    print(json.dumps({"version": version}), flush=True)
    for name, check in checks(engine):
        try:
            result = check()
        except Exception as error:  # drivers also fail by IndexError and the like
            result = {"error": repr(error)}
        print(json.dumps({"check": name, "result": [result]}, default=str, sort_keys=True), flush=True)


if __name__ == "__main__":
    main()
