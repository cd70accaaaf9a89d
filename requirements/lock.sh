#!/usr/bin/env bash
# Writes the hashed requirement files: one for each process, one for `ragmesh` on a laptop (run), the same without the
# build tools for its image (cli), the build tools alone (build), what the load generator of tests in a cluster needs
# beside it (load) and one for development. Run by `make lock`; the files carry no index addresses. Extra arguments go
# to uv (`--upgrade`, `--upgrade-package NAME`).
set -euo pipefail
cd "$(dirname "$0")/.."
members=(ragmesh-protos ragmesh-servicekit ragmesh-backends ragmesh-gateway ragmesh-retriever ragmesh-generator ragmesh-ingestor ragmesh)
skip=()
for member in "${members[@]}"; do skip+=(--no-emit-package "$member"); done

compile() {
  local out="$1"; shift
  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-emit-find-links --no-header --no-annotate --override requirements/overrides.txt "${skip[@]}" "${extra[@]}" \
    --output-file "requirements/$out" "$@"
}
extra=("$@")
compile dev.txt cli/pyproject.toml requirements/tools.in
extra+=(--constraints requirements/dev.txt)
compile run.txt cli/pyproject.toml requirements/build.in
compile cli.txt cli/pyproject.toml
compile build.txt requirements/build.in
compile load.txt requirements/load.in
for service in gateway retriever generator ingestor; do
  compile "$service.txt" "services/$service/pyproject.toml"
done
uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
  --no-annotate --output-file requirements/uv.txt requirements/uv.in "$@"
