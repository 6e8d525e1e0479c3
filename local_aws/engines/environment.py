"""What a program is given of the machine it runs on."""

import os
from collections.abc import Mapping

# A program on EMR knows nothing of the shell that asked for it, so it does not here either.
_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "JAVA_HOME")
_DEFAULT_MEMORY = 6 * 1024**3


def program_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a program: a few of this process's, then those of `environment`."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | dict(environment)


def step_memory(environment: Mapping[str, str]) -> int:
    """Return the bytes that all processes of a program may use together."""
    return int(environment.get("STEP_MEMORY_BYTES", _DEFAULT_MEMORY))
