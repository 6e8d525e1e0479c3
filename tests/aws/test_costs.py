"""The README's table of costs is what the program prints."""

from aws.costs import SECRETS, ceiling, lines, table
from tests.aws.template import PATH, Stack


def test_the_readme_has_the_table() -> None:
    for written in (table(), ceiling()):
        assert written in (PATH.parent / "README.md").read_text(), (
            "write the output of PYTHONPATH=dags python -m aws.costs into it"
        )


def test_it_adds_up_and_counts_what_the_template_makes() -> None:
    rows = list(lines())
    assert f"**{sum(row.usd for row in rows):,.2f}**" in table()
    stack = Stack()
    assert len(stack.of_type("AWS::SecretsManager::Secret")) == SECRETS
    priced = " ".join(row.what for row in rows)
    for name, property_ in (
        ("Postgres", "DBInstanceClass"),
        ("Mysql", "DBInstanceClass"),
        ("RedisGroup", "CacheNodeType"),
    ):
        assert stack.properties(name)[property_] in priced
