"""Tables of results as pandas data frames and Parquet files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.runs.results.columns import TABLES
from harness.runs.results.optional import package
from harness.runs.results.tables import Row, Source, rows_of

_PANDAS = {"text": "object", "integer": "Int64", "number": "float64", "truth": "boolean"}
_ARROW = {"text": "string", "integer": "int64", "number": "float64", "truth": "bool_"}


def to_pandas(table: str, rows: Sequence[Row]) -> Any:
    """A data frame with documented columns; it has them even without rows."""
    pandas = package("pandas", "to_pandas()")
    return pandas.DataFrame(
        {
            name: pandas.Series([row[name] for row in rows], dtype=_PANDAS[kind])
            for name, (kind, _) in TABLES[table].items()
        }
    )


def write_parquet(folder: Path, sources: Sequence[Source]) -> list[Path]:
    """Write each table as a Parquet file; columns carry their meaning as metadata.

    Raises:
        UsageError: The folder cannot be written.
    """
    package("pyarrow", "Export to Parquet")
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for table in TABLES:
            path = folder / f"{table}.parquet"
            draft = path.with_name(f".{path.name}.{os.getpid()}.part")
            try:
                _write(draft, table, rows_of(table, sources))
                draft.replace(path)  # whole or absent, and never beside its draft
            finally:
                draft.unlink(missing_ok=True)
            written.append(path)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written ({error.strerror}); give another folder."
        ) from error
    return written


def _write(path: Path, table: str, rows: Sequence[Row]) -> None:
    arrow, parquet = package("pyarrow", "Export"), package("pyarrow.parquet", "Export")
    makers = vars(arrow)
    schema = arrow.schema(
        [
            arrow.field(name, makers[_ARROW[kind]](), metadata={"description": meaning})
            for name, (kind, meaning) in TABLES[table].items()
        ]
    )
    columns = {name: [_storable(row[name]) for row in rows] for name in TABLES[table]}
    parquet.write_table(arrow.table(columns, schema=schema), path)


def _storable(value: Any) -> Any:
    # A completion may hold a lone surrogate, which no UTF-8 file can.
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value
