"""Whether policies allow a request: IAM's rules for one account's identity policies, as far as the template uses them.

An explicit Deny wins, then an Allow, else no. What is not understood (NotAction, an unknown operator) is an error, no
guess. Resource policies, boundaries and service control policies are not looked at.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any


def allowed(documents: Iterable[Mapping[str, Any]], action: str, resource: str, **context: str) -> bool:
    """Return whether identity policies allow an action on a resource.

    The condition keys of the request are ``context``, with ``__`` for ``:`` and ``_x_`` for ``/``.
    """
    values = {key.replace("__", ":").replace("_x_", "/").lower(): value for key, value in context.items()}
    effects = {
        statement["Effect"]
        for document in documents
        for statement in _many(document["Statement"])
        if _applies(statement, action, resource, values)
    }
    return "Deny" not in effects and "Allow" in effects


def actions(documents: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return all actions that policies name."""
    return {
        action
        for document in documents
        for statement in _many(document["Statement"])
        for action in _many(statement["Action"])
    }


def may_assume(trust: Mapping[str, Any], principal: Mapping[str, str], action: str, context: Mapping[str, str]) -> bool:
    """Return whether a role's trust lets a principal take it."""
    for statement in _many(trust["Statement"]):
        assert statement["Effect"] == "Allow"
        assert statement["Principal"] != "*"
        ((kind, names),) = statement["Principal"].items()
        fits = principal.get(kind) in _many(names) and action in _many(statement["Action"])
        if fits and _conditions(statement, {key.lower(): value for key, value in context.items()}):
            return True
    return False


def _applies(statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str]) -> bool:
    assert statement.keys() <= {"Sid", "Effect", "Action", "Resource", "Condition"}, f"not understood: {statement}"
    return (
        any(_like(pattern.lower(), action.lower()) for pattern in _many(statement["Action"]))
        and any(_like(pattern, resource) for pattern in _many(statement["Resource"]))
        and _conditions(statement, context)
    )


def _conditions(statement: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    operators: dict[str, Callable[[str, str], bool]] = {
        "StringEquals": lambda wanted, value: wanted == value,
        "StringLike": _like,
        "ArnLike": _like,
        "Bool": lambda wanted, value: wanted == value,
    }

    def holds(operator: str, key: str, wanted: Any) -> bool:
        compare = operators[operator.removesuffix("IfExists")]
        if key not in context:
            return operator.endswith("IfExists")
        return any(compare(each, context[key]) for each in _many(wanted))

    return all(
        holds(operator, key.lower(), wanted)
        for operator, keys in statement.get("Condition", {}).items()
        for key, wanted in keys.items()
    )


def _like(pattern: str, value: str) -> bool:
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, value, re.DOTALL) is not None


def _many(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]
