"""Composes the CloudFormation template: ``python -m aws.template`` writes ``aws/platform.yaml``.

``template.yaml`` has what every pipeline needs. A pipeline adds entries to its sections (Resources, Outputs, …) with a
file of its own, ``pipelines/<pipeline>.yaml``.
"""

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
HEAD = "# Written by `python -m aws.template` from template.yaml and pipelines/*.yaml. Do not edit.\n"
_SECTION = re.compile(r"^(\w+):", re.MULTILINE)
_ENTRY = re.compile(r"^  (\w+):", re.MULTILINE)
_POLICY = re.compile(r"^ +PolicyName: *(\S+)$", re.MULTILINE)


class TemplateError(ValueError):
    """A pipeline's file does not fit into the template; the text is one clear sentence."""


def compose(folder: Path = FOLDER) -> str:
    """Return the text of ``platform.yaml``.

    Raises:
        TemplateError: a pipeline's file has a section that the template lacks, an entry that is there already, or a
            policy of a name that is: of two with one name a role keeps the later one only.
    """
    sections = _sections((folder / "template.yaml").read_text(encoding="utf-8"))
    for path in sorted((folder / "pipelines").glob("*.yaml")):
        for name, lines in _sections(path.read_text(encoding="utf-8")).items():
            if name not in sections:
                raise TemplateError(f"{path.name} adds to {name}, a section that template.yaml does not have.")
            if twice := set(_ENTRY.findall(lines)) & set(_ENTRY.findall(sections[name])):
                raise TemplateError(f"{path.name} adds {min(twice)} to {name}, which is there already: rename it.")
            if twice := set(_POLICY.findall(lines)) & set(_POLICY.findall("".join(sections.values()))):
                raise TemplateError(
                    f"{path.name} has a policy {min(twice)}, as another file does: rename its PolicyName."
                )
            sections[name] = sections[name].rstrip("\n") + "\n\n" + lines.partition("\n")[2].rstrip("\n") + "\n\n"
    text = re.sub(r"\n{3,}", "\n\n", "".join(sections.values())).rstrip("\n") + "\n"
    return HEAD + text


def _sections(text: str) -> dict[str, str]:
    """Return the top-level sections of a template by name, each with the line that begins it."""
    starts = [*_SECTION.finditer(text)]
    ends = [*(each.start() for each in starts[1:]), len(text)]
    return {each[1]: text[each.start() : end] for each, end in zip(starts, ends, strict=True)}


def main() -> None:
    """Write the template."""
    try:
        (FOLDER / "platform.yaml").write_text(compose(), encoding="utf-8")
    except TemplateError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
