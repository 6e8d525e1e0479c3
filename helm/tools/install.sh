#!/usr/bin/env bash
# Builds the command-line tools that the chart's tests use, pinned, from Go modules into .local/bin.
# usage: helm/tools/install.sh [helm] [kubeconform] [kube-score] [pluto]     (without an argument: all)
# Needs Go 1.25 or later. A tool that is already there in its version is left alone. Go holds every download against its
# public checksum database; a tool that the database does not vouch for is not built, and the others are all the same.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=$root/.local/bin

declare -A package=(
  [helm]=helm.sh/helm/v3/cmd/helm
  [kubeconform]=github.com/yannh/kubeconform/cmd/kubeconform
  [kube-score]=github.com/zegl/kube-score/cmd/kube-score
  [pluto]=github.com/fairwindsops/pluto/v5/cmd/pluto
)
declare -A version=(
  [helm]=v3.22.0
  [kubeconform]=v0.8.0
  [kube-score]=v1.20.0
  [pluto]=v5.21.1
)

command -v go >/dev/null || { echo "go is not on the PATH: install Go 1.25 or later, or the tools by hand into $bin." >&2; exit 1; }
[ $# -gt 0 ] || set -- helm kubeconform kube-score pluto
mkdir -p "$bin"
missing=()
for tool in "$@"; do
  [ -n "${package[$tool]:-}" ] || { echo "There is no tool '$tool' here; there are: ${!package[*]}." >&2; exit 1; }
  stamp=$bin/.$tool-${version[$tool]}
  if [ -x "$bin/$tool" ] && [ -e "$stamp" ]; then continue; fi
  ldflags="-s -w"
  # Charts may ask for the least version of helm, which is written into the program when it is built.
  if [ "$tool" = helm ]; then ldflags+=" -X helm.sh/helm/v3/internal/version.version=${version[$tool]}"; fi
  echo "Building $tool ${version[$tool]} …" >&2
  if (cd / && GOBIN=$bin CGO_ENABLED=0 GOWORK=off GOFLAGS=-buildvcs=false \
    go install -trimpath -ldflags "$ldflags" "${package[$tool]}@${version[$tool]}"); then
    rm -f "$bin/.$tool"-v*
    touch "$stamp"
  else
    missing+=("$tool")
  fi
done
[ ${#missing[@]} = 0 ] || { echo "Not built: ${missing[*]} (see above); the tests that use them are skipped." >&2; exit 1; }
