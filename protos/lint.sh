#!/usr/bin/env bash
# `lint.sh lint` checks the contract's style; `lint.sh breaking REF` checks that nothing of git revision REF breaks.
# buf resolves imports inside one folder, so the google/api files of the installed googleapis-common-protos are laid
# beside a copy of ours.
set -euo pipefail
cd "$(dirname "$0")"
bin="$(cd ../.venv/bin && pwd)"
include="$("$bin/python" -c 'import pathlib, google.api; print(pathlib.Path(next(iter(google.api.__path__))).parents[1])')"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

lay() { # folder that holds ragmesh/, destination
  mkdir -p "$2/google/api"
  cp -r "$1/ragmesh" buf.yaml "$2/"
  cp "$include"/google/api/{annotations,http}.proto "$2/google/api/"
}

lay . "$work/now"
case "${1:-lint}" in
  lint)
    (cd "$work/now" && "$bin/buf" lint --path ragmesh)
    "$bin/buf" format --diff --exit-code .
    ;;
  breaking)
    mkdir "$work/then-tree"
    git archive "$2" -- ragmesh 2>/dev/null | tar -x -C "$work/then-tree" || { echo "no contract in $2: nothing can break"; exit 0; }
    lay "$work/then-tree" "$work/then"
    (cd "$work/now" && "$bin/buf" breaking --against "$work/then" --path ragmesh)
    ;;
esac
