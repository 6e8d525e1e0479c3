"""The way to Airflow's REST API on this machine: its port, and the user that Airflow generates."""

import json
from dataclasses import dataclass

from console.errors import UserError
from laptop.config import Config
from laptop.processes import Supervisor


@dataclass(frozen=True)
class LocalAccess:
    """See :class:`console.airflow.Access`."""

    config: Config
    supervisor: Supervisor

    @property
    def url(self) -> str:
        """Address of the API server."""
        return self.config.ui_url

    @property
    def origin(self) -> str:
        """The file that has the password."""
        return str(self.config.password_file)

    @property
    def hint(self) -> str:
        """The log of the API server."""
        return f"see {self.config.logs / 'api-server.log'}."

    def credentials(self) -> tuple[str, str]:
        """Return user and password; UserError while Airflow has not made it."""
        try:
            return "admin", str(json.loads(self.config.password_file.read_text())["admin"])
        except (FileNotFoundError, ValueError, KeyError):
            raise UserError(
                f"Airflow has not written the password of its page yet, which it does while it starts: {self.hint}"
            ) from None

    def recover(self) -> None:
        """Raise UserError if the platform has ended; else another try can succeed."""
        self.supervisor.require_alive()
