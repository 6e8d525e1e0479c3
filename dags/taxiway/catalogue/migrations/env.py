"""How Alembic runs the migrations: on the connection that ``taxiway.catalogue.migrate`` passes."""

from alembic import context

from taxiway.catalogue import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
context.run_migrations()
