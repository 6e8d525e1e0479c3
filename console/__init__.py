"""What the platforms share at a person's terminal: one Airflow client, one follower, ports, output and errors.

``laptop/`` runs the platform on this machine, ``cluster/`` on Kubernetes; a folder ``demos/<pipeline>/`` declares what
``make demo``, ``make kind-demo`` and ``make results`` do for a pipeline. Imports point one way:

    console ← demos/<pipeline> → taxiway
    console ← laptop → taxiway
    console ← cluster

Neither platform imports the other, neither imports a demo by name, and no demo imports a platform or another demo:
``console.demo`` discovers demos at run time, and they see a platform as ``console.platform`` describes it.
"""
