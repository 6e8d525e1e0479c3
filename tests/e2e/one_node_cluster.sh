#!/usr/bin/env bash
# Prepares a machine that reaches no image registry for the tests on a cluster, and prints the variables that they need.
# usage: eval "$(tests/e2e/one_node_cluster.sh FOLDER)"
# FOLDER has the programs `up` (starts a cluster and prints KUBECONFIG), `load-image` (NAME:TAG…) and `base-images`
# (builds stand-ins for public images). Needs root, docker and Go.
set -euo pipefail
folder=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."
kafka=no # for the arrival model, which CI does not run on a cluster; looked at once, as CI installs dev meanwhile
[ ! -f .local/venvs/dev/.installed ] || kafka=yes

set -a
eval "$("$folder/up")"
set +a
case ":$PATH:" in *":$PWD/.local/bin:"*) ;; *) PATH=$PATH:$PWD/.local/bin ;; esac
# What an earlier run left starts with the cluster; the tests would remove it only when theirs begin.
kubectl delete namespace taxiway-e2e --ignore-not-found --wait=false >&2
helm/tools/install.sh >&2 || true # it says what it could not build; the tests that need that fail
"$folder/base-images" python debian >&2
docker build --quiet --file tests/e2e/base_image/Dockerfile --build-arg BASE_IMAGE=python:3.11-slim-bookworm \
  --tag taxiway/airflow-base:local . >&2
docker build --quiet --file tests/e2e/python_image/Dockerfile --build-arg BASE_IMAGE=python:3.11-slim-bookworm \
  --tag taxiway/python-base:local tests/e2e/python_image >&2
exporter=apache/airflow:airflow-pgbouncer-exporter-2025.03.05-0.18.0
docker build --quiet --file tests/e2e/pgbouncer_exporter/Dockerfile --build-arg BASE_IMAGE=python:3.11-slim-bookworm \
  --tag "$exporter" . >&2
"$folder/load-image" "$exporter" >&2

docker build --quiet --file tests/e2e/redis_exporter/Dockerfile --build-arg BASE_IMAGE=python:3.11-slim-bookworm \
  --tag oliver006/redis_exporter:v1.77.0 . >&2
"$folder/load-image" oliver006/redis_exporter:v1.77.0 >&2
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
while read -r program image; do
  [ -x ".local/bin/$program" ] || continue
  cp ".local/bin/$program" "$context/program"
  docker build --quiet --file tests/e2e/static_image/Dockerfile --tag "$image" "$context" >&2
  "$folder/load-image" "$image" >&2
done <<END
prometheus prom/prometheus:v3.15.0
alertmanager prom/alertmanager:v0.34.2
otelcol otel/opentelemetry-collector:0.160.0
END

if [ $kafka = yes ]; then
  mkdir "$context/kafka"
  PYTHONPATH=.:dags .local/venvs/dev/bin/python tests/e2e/kafka_image/context.py "$context/kafka"
  docker build --quiet --file tests/e2e/kafka_image/Dockerfile --tag apache/kafka:4.2.1 "$context/kafka" >&2
  "$folder/load-image" apache/kafka:4.2.1 >&2
fi

chart=${CHART:-$HOME/.cache/taxiway/airflow-1.22.0.tgz}
if [ -f "$chart" ]; then
  {
    helm template platform helm/platform -f helm/platform/kind.yaml --set-string images.localAws.tag=t --set-string images.gitServer.tag=t
    helm template airflow "$chart" -f helm/airflow/base.yaml -f helm/airflow/mappings.yaml -f helm/airflow/kind.yaml --set-string defaultAirflowTag=t
  } | "$folder/base-images" --load --for - >&2
fi

cat <<END
export KUBECONFIG='$KUBECONFIG' DOCKER_HOST='${DOCKER_HOST:-}' PATH='$PATH'
export TAXIWAY_E2E=1 KUBE_CONTEXT='$(kubectl config current-context)' IMAGE_LOADER='$folder/load-image'
export AIRFLOW_BASE_IMAGE=taxiway/airflow-base:local PYTHON_BASE_IMAGE=taxiway/python-base:local DEBIAN_BASE_IMAGE=debian:bookworm-slim
END
