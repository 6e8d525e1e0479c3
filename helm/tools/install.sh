#!/usr/bin/env bash
# Builds the command-line tools that the tests of charts and metrics use, pinned, from Go modules into .local/bin.
# usage: helm/tools/install.sh [TOOL]…     (all of them without an argument)
# Needs Go 1.26 or later. A tool that is already there in its version is left alone, and one that another checkout of this
# user has built by the same files is copied from ~/.cache/taxiway/tools. Go holds every download against its
# public checksum database; a tool that the database does not vouch for is not built, and the others are all the same.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=$root/.local/bin

declare -A package=(
  [helm]=helm.sh/helm/v3/cmd/helm
  [kubeconform]=github.com/yannh/kubeconform/cmd/kubeconform
  [kube-score]=github.com/zegl/kube-score/cmd/kube-score
  [pluto]=github.com/fairwindsops/pluto/v5/cmd/pluto
  [statsd_exporter]=github.com/prometheus/statsd_exporter
  [prometheus]=github.com/prometheus/prometheus/cmd/prometheus
  [promtool]=github.com/prometheus/prometheus/cmd/promtool
  [alertmanager]=github.com/prometheus/alertmanager/cmd/alertmanager
  [amtool]=github.com/prometheus/alertmanager/cmd/amtool
  [otelcol]=go.opentelemetry.io/collector/cmd/builder   # which puts the collector together from otelcol.yaml
)
declare -A version=(
  [helm]=v3.22.0
  [kubeconform]=v0.8.0
  [kube-score]=v1.20.0
  [pluto]=v5.21.1
  [statsd_exporter]=v0.30.0   # the version that Airflow's chart 1.22.0 runs
  [prometheus]=v0.315.0       # Prometheus 3.15.0
  [promtool]=v0.315.0
  [alertmanager]=v0.34.2
  [amtool]=v0.34.2
  [otelcol]=v0.160.0
)

# Modules whose go.mod replaces others, or that embed a web page which only their release has, are built in place.
declare -A module=(
  [prometheus]=github.com/prometheus/prometheus
  [promtool]=github.com/prometheus/prometheus
  [alertmanager]=github.com/prometheus/alertmanager
)
# Of Prometheus' ways to find targets those that our configuration uses: the others bring a dozen clouds' libraries.
declare -A tags=(
  [prometheus]='remove_all_sd,enable_dns_sd,enable_kubernetes_sd'
  [promtool]='remove_all_sd,enable_dns_sd,enable_kubernetes_sd'
)

build() { # name of the tool, flags of go
  local tool=$1 source
  shift
  if [ "$tool" = otelcol ]; then
    sed "s|^dist: {|&output_path: $scratch/otelcol, |" "$root/helm/tools/otelcol.yaml" >"$scratch/otelcol.yaml"
    (cd / && go run "${package[$tool]}@${version[$tool]}" --config="$scratch/otelcol.yaml" --ldflags="-s -w") &&
      mv "$scratch/otelcol/otelcol" "$bin/otelcol"
    return
  fi
  if [ -z "${module[$tool]:-}" ]; then
    (cd / && GOBIN=$bin go install "$@" "${package[$tool]}@${version[$tool]}")
    return
  fi
  source=$(cd / && go mod download -json "${module[$tool]}@${version[$tool]}" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p') || return
  [ -n "$source" ] || { echo "go mod download did not return the folder of ${module[$tool]}." >&2; return 1; }
  if [ "$tool" = alertmanager ]; then
    cp -r "$source" "$scratch/$tool"
    source=$scratch/$tool
    chmod -R u+w "$source"
    mkdir -p "$source/ui/app/dist"
    echo "Built without its web page." >"$source/ui/app/dist/index.html"
  fi
  (cd "$source" && go build "$@" -tags "${tags[$tool]:-}" -o "$bin/$tool" "./${package[$tool]#"${module[$tool]}/"}")
}

command -v go >/dev/null || { echo "go is not on the PATH: install Go 1.26 or later, or the tools by hand into $bin." >&2; exit 1; }
[ $# -gt 0 ] || set -- helm kubeconform kube-score pluto statsd_exporter prometheus promtool alertmanager amtool otelcol
mkdir -p "$bin"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export CGO_ENABLED=0 GOWORK=off GOFLAGS=-buildvcs=false
kept=${XDG_CACHE_HOME:-$HOME/.cache}/taxiway/tools
recipe=$(cat "$root"/helm/tools/* | sha256sum | cut -c1-12)
mkdir -p "$kept"
missing=()
for tool in "$@"; do
  [ -n "${package[$tool]:-}" ] || { echo "There is no tool '$tool' here; there are: ${!package[*]}." >&2; exit 1; }
  stamp=$bin/.$tool-${version[$tool]}
  if [ -x "$bin/$tool" ] && [ -e "$stamp" ]; then continue; fi
  copy=$kept/$tool-${version[$tool]}-$recipe
  if [ -x "$copy" ]; then
    cp "$copy" "$bin/$tool"
    touch "$stamp"
    continue
  fi
  ldflags="-s -w"
  # Charts may ask for the least version of helm, which is written into the program when it is built.
  if [ "$tool" = helm ]; then ldflags+=" -X helm.sh/helm/v3/internal/version.version=${version[$tool]}"; fi
  echo "Building $tool ${version[$tool]} …" >&2
  if build "$tool" -trimpath -ldflags "$ldflags"; then
    rm -f "$bin/.$tool"-v* "$kept/$tool"-v*
    touch "$stamp"
    cp "$bin/$tool" "$copy.$$" && mv "$copy.$$" "$copy"
  else
    missing+=("$tool")
  fi
done
[ ${#missing[@]} = 0 ] || { echo "Not built: ${missing[*]} (see above)." >&2; exit 1; }
