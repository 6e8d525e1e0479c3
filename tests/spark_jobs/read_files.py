"""A program for tests: reads files as the programs do, and writes their rows, or what was said, as JSON to OUT.

Beside it, whether Apache Spark's vectorised reader was used.

python read_files.py OUT FILE…
"""

import json
import sys
from pathlib import Path

from spark_jobs.common.program import ENGINE_ERRORS, ProgramError, first_line, run
from spark_jobs.common.session import session
from spark_jobs.hvfhv.schema import read_trips


def main() -> None:
    """Read each file by itself."""
    out, *files = sys.argv[1:]
    spark = session()
    found: dict[str, tuple[object, bool]] = {}
    for file in files:
        spark.conf.set("spark.sql.parquet.enableVectorizedReader", "true")  # as at the start of a program
        try:
            said: object = [row.asDict() for row in read_trips(spark, [file]).collect()]
        except ProgramError as error:
            said = str(error)
        except ENGINE_ERRORS as error:
            said = f"the engine failed: {first_line(error)}"
        found[file] = said, spark.conf.get("spark.sql.parquet.enableVectorizedReader") == "true"
    Path(out).write_text(json.dumps(found, default=str))


if __name__ == "__main__":
    run(main)
