#!/usr/bin/env bash
# Writes gen/ from the .proto files: messages and stubs with their types, and the descriptor set with comments that
# the gateway derives its REST routes and OpenAPI document from. google/api comes from googleapis-common-protos.
# `generate.sh DIR` writes to DIR instead (that is how `make check-generate` compares).
set -euo pipefail
cd "$(dirname "$0")"
python="${PYTHON:-../.venv/bin/python}"
out="${1:-gen}"
include="$("$python" -c 'import pathlib, google.api; print(pathlib.Path(next(iter(google.api.__path__))).parents[1])')"
wellknown="$("$python" -c 'import pathlib, grpc_tools; print(pathlib.Path(grpc_tools.__file__).parent / "_proto")')"
PATH="$(cd "$(dirname "$python")" && pwd):$PATH"
mapfile -t files < <(find ragmesh -name '*.proto' | LC_ALL=C sort)
mkdir -p "$out"
find "$out/ragmesh" \( -name '*_pb2*.py*' -o -name '*.binpb' \) -delete 2>/dev/null || true
"$python" -m grpc_tools.protoc -I . -I "$include" -I "$wellknown" \
  --python_out="$out" --grpc_python_out="$out" --mypy_out=quiet:"$out" --mypy_grpc_out=quiet:"$out" "${files[@]}"
"$python" -m grpc_tools.protoc -I . -I "$include" -I "$wellknown" --include_imports --include_source_info \
  --descriptor_set_out="$out/ragmesh/descriptors.binpb" "${files[@]}"
# A service file is only useful where a service is; protoc writes an empty one for every file.
grep -rL 'add_.*_to_server' --include='*_pb2_grpc.py' "$out/ragmesh" | while read -r empty; do rm -f "$empty" "${empty}i"; done
touch "$out/ragmesh/py.typed"
