"""What all tables share: the metadata that they are part of, and the type of ids."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, MetaData

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

# SQLite gives out row ids only for a column that is exactly INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")
