"""Programs of services as processes of this machine: started, limited, cancelled, and their logs put where AWS does.

It knows no service: a service describes a :class:`Program`, gives it to the :class:`Runner` that all services share,
and translates the :class:`Result` into the states of its API.
"""

from local_aws.execution.launch import Launch, LaunchError
from local_aws.execution.runner import Failure, Limits, Program, Result, Run, Runner, State, remove_leftovers

__all__ = [
    "Failure",
    "Launch",
    "LaunchError",
    "Limits",
    "Program",
    "Result",
    "Run",
    "Runner",
    "State",
    "remove_leftovers",
]
