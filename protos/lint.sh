#!/usr/bin/env bash
# `lint.sh lint` checks the contract's style; `lint.sh breaking [REF]` checks that nothing of git revision REF breaks.
# Without REF: on a branch, what main had when the branch left it; on main, the last release, or before the first one
# what main had before its last change of the contract. The files as they are on disk are compared.
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

skip() { echo "breaking changes: not checked: $1"; exit 0; }

base() { # prints the revision to compare with; skips when there is none
  git rev-parse --verify --quiet HEAD >/dev/null 2>&1 || skip "this is no git repository"
  local shallow main point change
  shallow="$(git rev-parse --is-shallow-repository)"
  for main in refs/remotes/origin/main refs/heads/main HEAD; do
    git rev-parse --verify --quiet "$main^{commit}" >/dev/null && break
  done
  if ! point="$(git merge-base HEAD "$main")"; then
    [[ $shallow == true ]] && skip "this shallow clone does not reach main (git fetch --unshallow)"
    skip "this branch has no history in common with main"
  fi
  if [[ $point == "$(git rev-parse HEAD)" ]]; then
    if ! point="$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null)"; then
      change="$(git log -1 --format=%H -- ragmesh)"
      if ! point="$(git rev-parse --verify --quiet "${change:-none}^")"; then
        [[ $shallow == true ]] && skip "this shallow clone has no earlier contract (git fetch --unshallow)"
        skip "there is no earlier contract"
      fi
    fi
  fi
  echo "$point"
}

lay . "$work/now"
case "${1:-lint}" in
  lint)
    (cd "$work/now" && "$bin/buf" lint --path ragmesh)
    "$bin/buf" format --diff --exit-code .
    ;;
  breaking)
    ref="${2:-}"
    if [[ -z $ref ]]; then
      ref="$(base)"
      [[ $ref == breaking* ]] && { echo "$ref"; exit 0; } # base skipped, in its own shell
    fi
    git rev-parse --verify --quiet "$ref^{commit}" >/dev/null || { echo "breaking changes: there is no revision $ref" >&2; exit 2; }
    [[ -n "$(git ls-tree "$ref" -- ragmesh)" ]] || skip "there is no contract in $ref"
    mkdir "$work/then-tree"
    git archive "$ref" -- ragmesh | tar -x -C "$work/then-tree"
    lay "$work/then-tree" "$work/then"
    short="$(git rev-parse --short "$ref")"
    (cd "$work/now" && "$bin/buf" breaking --against "$work/then") ||
      { echo "breaking changes: the contract breaks clients of $short, as listed" >&2; exit 1; }
    echo "breaking changes: none since $short"
    ;;
  *)
    echo "usage: lint.sh lint | breaking [REF]" >&2
    exit 2
    ;;
esac
