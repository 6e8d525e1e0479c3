"""The cluster and namespace that an environment means; anything else is refused before something is changed."""

import json
from typing import Any

from cluster.config import KIND_CONTEXT, Config
from cluster.kubectl import Kubectl
from cluster.shell import last_lines, run
from console.errors import UserError

LABEL = "taxiway.io/environment"


def open_target(config: Config, *, make_namespace: bool = False) -> Kubectl:
    """Return kubectl for the environment's namespace.

    Args:
        config: names environment, context and namespace.
        make_namespace: make the namespace where it is missing.

    Raises:
        UserError: there is no such context or namespace, the cluster does not answer, or is not the environment's.
    """
    context = require_context(config)
    kubectl = Kubectl(context, config.namespace)
    namespace = kubectl.find("namespace", config.namespace)
    if namespace is None and make_namespace:
        kubectl.run("apply", "-f", "-", text_in=json.dumps(namespace_object(config)))
        return kubectl
    if namespace is None:
        hint = "make kind-up" if config.environment == "kind" else config.make("secrets")
        raise UserError(f"The context {context!r} has no namespace {config.namespace!r}: {hint} makes it.")
    require_label(config, namespace)
    return kubectl


def remove_namespace(kubectl: Kubectl) -> None:
    """Remove the namespace with everything in it; nothing is made in it any more once that has begun.

    Pods get seconds to end: a worker would wait for hours for a broker that is gone before it.

    Raises:
        UserError: it is not gone within minutes.
    """
    kubectl.run("delete", "namespace", kubectl.namespace, "--ignore-not-found", "--wait=false")
    kubectl.run("delete", "pods", "--all", "--grace-period=5", "--wait=false")
    kubectl.run("wait", "--for=delete", f"namespace/{kubectl.namespace}", "--timeout=240s", seconds=300)


def require_context(config: Config) -> str:
    """Return the context that is meant, once it is sure that it exists and fits the environment.

    Raises:
        UserError: it does not.
    """
    if not config.context:
        raise UserError(
            f"ENV={config.environment} has no cluster of its own: name it by KUBE_CONTEXT=… "
            f"(kubectl config get-contexts lists: {', '.join(_contexts()) or 'none'})."
        )
    known = _contexts()
    if config.context not in known:
        others = ", ".join(known) or "none"
        if config.context == KIND_CONTEXT:
            raise UserError(
                f"There is no cluster: KUBECONFIG has no context {KIND_CONTEXT!r} (it has: {others}). make kind-up "
                "makes it; KUBE_CONTEXT=… names another."
            )
        raise UserError(f"KUBE_CONTEXT={config.context}: KUBECONFIG has no such context; it has: {others}.")
    server = _server(config.context)
    on_eks = ".eks.amazonaws.com" in server or config.context.startswith("arn:aws:eks:")
    if config.environment == "kind" and on_eks:
        raise UserError(f"ENV=kind does not go to the EKS cluster of the context {config.context!r}: use ENV=eks.")
    if config.environment == "eks" and config.context.startswith("kind-"):
        raise UserError(f"ENV=eks does not go to the kind cluster of the context {config.context!r}: use ENV=kind.")
    return config.context


def require_label(config: Config, namespace: dict[str, Any]) -> None:
    """Check that a namespace is labelled as that of the environment.

    Raises:
        UserError: it is another's, or nobody's.
    """
    label = namespace["metadata"].get("labels", {}).get(LABEL)
    if label == config.environment:
        return
    where = f"The namespace {config.namespace!r} of the context {config.context!r}"
    if label:
        raise UserError(
            f"{where} is that of ENV={label}, not of ENV={config.environment}: name the right context, or ENV={label}."
        )
    raise UserError(
        f"{where} was not made for an environment of ours (it lacks the label {LABEL}). If it is meant: kubectl "
        f"--context {config.context} label namespace {config.namespace} {LABEL}={config.environment}"
    )


def namespace_object(config: Config) -> dict[str, Any]:
    """Return the namespace: pods that are not restricted are refused in it."""
    levels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": config.namespace, "labels": {LABEL: config.environment, **levels}},
    }


def _contexts() -> list[str]:
    result = run(["kubectl", "config", "get-contexts", "-o", "name"], seconds=20)
    if result.returncode:
        raise UserError(f"KUBECONFIG cannot be read: {last_lines(result.stderr)}")
    return result.stdout.split()


def _server(context: str) -> str:
    command = ["kubectl", "config", "view", "--minify", "--context", context, "-o", "json"]
    result = run(command, seconds=20)
    if result.returncode:
        raise UserError(f"KUBECONFIG's context {context!r} cannot be used: {last_lines(result.stderr)}")
    clusters = json.loads(result.stdout).get("clusters") or []
    return str(clusters[0]["cluster"].get("server", "")) if clusters else ""
