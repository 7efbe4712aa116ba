#!/bin/sh
# Remove from an installation what runs without: headers, tests and build tools of packages.
# usage: slim.sh FOLDER (a virtual environment, or the target of pip install --target)
set -eu
packages=$(find "$1" -path '*/torch/version.py' | head -1)
packages=${packages%/torch/version.py}
[ -n "$packages" ] || { echo "slim.sh: no torch in $1" >&2; exit 1; }
rm -rf "$packages/torch/include" "$packages/torch/test" "$packages/torch/share"
find "$packages/torch/bin" -type f ! -name torch_shm_manager -delete
find "$packages" -type d \( -name tests -o -name test \) -prune -exec rm -rf {} +
rm -rf "$packages"/pip "$packages"/pip-*
