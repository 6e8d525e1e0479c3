"""What each kind of statement does."""

from local_aws.athena.sql.execution import Execution, Outcome


def execute(execution: Execution) -> Outcome:
    """Run the statement of an execution."""
    return execution.select(execution.request.sql, execution.request.parameters)
