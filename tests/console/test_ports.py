import socket

import pytest

from console.errors import UserError
from console.ports import require_free


def test_a_taken_port_is_named_with_the_remedy() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"Port {port} .*which Airflow's web page needs.*UI_PORT="):
            require_free(port, "UI_PORT", "Airflow's web page")
    require_free(port, "UI_PORT", "Airflow's web page")
