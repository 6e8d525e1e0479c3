"""Makes the files of a new pipeline: ``python -m templates NAME [CSV]``, or ``make new-pipeline NAME=… [CSV=…]``.

``CSV`` is the address (https, http) or the path of the file that the pipeline is to load; its columns, their types and
a key are proposed in the contracts. Without it, the pipeline loads a sample of Central Park's weather. Nothing that
exists is changed. Needs the environment ``template``.
"""

import argparse
import http.client
import json
import re
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.request import Request, urlopen

import yaml  # copier brings it

from templates.csv_columns import MOST_BYTES, SQL_WORDS, CsvFault, Proposal, propose

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = Path(__file__).resolve().parent / "pipeline"
WEATHER = Path(__file__).resolve().parent / "central_park_weather_2023.csv"
MOST_LETTERS = 20
# Words that are in Python, or that name something else where a pipeline's name stands; in YAML some are no text.
_RESERVED_WORDS = """
all and as assert async await break class common continue core def del elif else except finally for from
global if import in is lambda match none nonlocal not or pass raise return settings tables test tests try
type while with yield catalogue operations lake aws
true false null yes no on off
"""
_PACKAGES = (
    *("contracts", "dags/taxiway", "spark_jobs", "demos", "services", "tests/dags", "tests/demos", "tests/spark_jobs"),
)


class NewPipelineError(ValueError):
    """The pipeline cannot be made; the text is one sentence."""


def check_name(name: str, root: Path) -> None:
    """Refuse a name that cannot be a pipeline's, or that is taken.

    Raises:
        NewPipelineError: say another.
    """
    if not name:
        raise NewPipelineError("NAME is missing: say make new-pipeline NAME=weather.")
    if not re.fullmatch(r"[a-z]{2,}(_[a-z]{2,})*", name) or len(name) > MOST_LETTERS:
        raise NewPipelineError(
            f"NAME={name} is not a pipeline's name: use lower-case words of two letters or more, joined by _, "
            f"{MOST_LETTERS} letters at most, such as NAME=park_weather."
        )
    if name in (*_RESERVED_WORDS.split(), *SQL_WORDS.split()):
        raise NewPipelineError(
            f"NAME={name} has another meaning in the code: choose another, such as NAME={name}_data."
        )
    camel = _camel(name)
    places = [
        # A package would hide a module of its name, or be hidden by it.
        *(f"{folder}/{name}{suffix}" for folder in _PACKAGES for suffix in ("", ".py")),
        *(f"dags/{name}_load.py", f"aws/pipelines/{name}.yaml", f"helm/monitoring/rules/{name}.yaml"),
        f"docs/runbooks/{camel}LoadFailed.md",
    ]
    if taken := next((place for place in places if (root / place).exists()), None):
        raise NewPipelineError(f"NAME={name} is taken: there is {taken}; choose another name.")
    tables = {f"{name}{suffix}" for suffix in ("", "_file", "_rejected")}
    for file in sorted((root / "contracts").glob("*/*.yaml")):
        # A line suffices: the standard has the id at the top.
        found = re.search(r"(?m)^id: *(\S+)$", file.read_text(encoding="utf-8"))
        if found and found[1] in tables:
            raise NewPipelineError(
                f"NAME={name} is taken: {file.relative_to(root)} has the table {found[1]}; choose another name."
            )


def read(given: str) -> tuple[Proposal, str]:
    """Return what a CSV file has, and the file's address if it has one.

    Args:
        given: an address, or a path; empty for the sample.

    Raises:
        NewPipelineError: it cannot be read, or is no CSV.
    """
    is_address = given.startswith(("https://", "http://"))
    try:
        if is_address:
            request = Request(given, headers={"User-Agent": "taxiway"})  # noqa: S310 - checked
            with urlopen(request, timeout=60) as answer:  # noqa: S310
                content = answer.read(MOST_BYTES)
        else:
            with (Path(given).expanduser() if given else WEATHER).open("rb") as file:
                content = file.read(MOST_BYTES)
        return propose(content), given if is_address else ""
    except (URLError, http.client.HTTPException) as error:
        raise NewPipelineError(f"CSV={given} cannot be read: {getattr(error, 'reason', error)}.") from None
    except OSError as error:
        reason = error.strerror or error
        raise NewPipelineError(f"CSV={given} cannot be read ({reason}): give the path or address of a file.") from None
    except ValueError as error:
        fault = str(error) if isinstance(error, CsvFault) else f"cannot be read: {error}"
        raise NewPipelineError(f"CSV={given} {fault}.") from None


def make(name: str, given: str, root: Path) -> list[str]:
    """Write the files of a pipeline, and return their paths.

    Args:
        name: in snake case.
        given: its file, see :func:`read`.
        root: of the repository.

    Raises:
        NewPipelineError: the name or the file cannot be used; nothing was written.
    """
    import copier  # which only the environment template has

    check_name(name, root)
    proposal, url = read(given)
    source = (
        f"the first rows of a file that was given as {re.sub(r'[?#].*', '', given)!r}"
        if given
        else "the daily weather of Central Park in 2023, by NOAA's Global Historical Climatology Network (GHCN-Daily), "
        "which is in the public domain; inches, miles per hour and degrees Fahrenheit"
    )
    data = {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "camel": _camel(name),
        "url": _python(url),
        "source": source,
        "columns": [
            {
                **column,
                "yaml_name": _yaml_name(column["name"]),
                "yaml_header": _yaml(column["header"]),
                "yaml_description": _yaml(f"`{column['header']}` of the file"),
            }
            for column in proposal.columns
        ],
    }
    with TemporaryDirectory(prefix="taxiway-template") as folder:
        copier.run_copy(str(TEMPLATE), folder, data=data, defaults=True, quiet=True)
        sample = Path(folder, f"demos/{name}/sample/{name}.csv")
        sample.write_bytes(proposal.sample)
        made = {path.relative_to(folder).as_posix(): path for path in Path(folder).rglob("*") if path.is_file()}
        if there := next((path for path in sorted(made) if (root / path).exists()), None):
            raise NewPipelineError(f"NAME={name} is taken: there is {there}; choose another name.")
        for path, file in made.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, root / path)
    return sorted(made)


def _yaml_name(name: str) -> str:
    """Return a column's name as YAML writes it: in quotes if it would be read as something else, as ``no`` is."""
    return name if yaml.safe_load(name) == name and name not in ("y", "n") else _yaml(name)


def _yaml(text: str) -> str:
    """Return a text as YAML writes it: in quotes, in one line."""
    style = "'" if '"' in text and text.isprintable() else '"'
    return str(yaml.safe_dump(text, default_style=style, allow_unicode=True, width=float("inf"))).strip()


def _python(text: str) -> str:
    """Return a text as Python writes it, with the quotes that the formatter prefers."""
    return json.dumps(text, ensure_ascii=False) if '"' not in text else repr(text)


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m templates", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="of the pipeline, in snake case")
    parser.add_argument("csv", nargs="?", default="", help="address or path of its file; default a sample of weather")
    parser.add_argument("--root", type=Path, default=ROOT, help="of the repository")
    options = parser.parse_args(arguments)
    try:
        made = make(options.name, options.csv, options.root)
    except NewPipelineError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    name = options.name
    sys.stdout.write(
        "".join(f"  {path}\n" for path in made)
        + f"Made {len(made)} files and changed none. Run it: make demo PIPELINE={name}\n"
        f"Then read what was proposed in contracts/{name}/, and go on with docs/your-first-pipeline.md.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
