"""What Alembic runs for every command: our connection, our tables.

Promises: all steps run in the transaction of the connection that `store.database` passes in.
Leaves out: configuration files; there is no alembic.ini.
Thread: the one that opens the store.
"""

from __future__ import annotations

from alembic import context

from edge.central.store.catalogue_schema import METADATA

__all__: list[str] = []

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
