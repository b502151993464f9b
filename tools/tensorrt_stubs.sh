#!/bin/bash
# Put the types of TensorRT's Python interface into a folder for mypy: tools/tensorrt_stubs.sh PYTHON FOLDER
# A folder of their own, because installed they would make an empty package `tensorrt`. The published
# stubs have three mistakes in methods that nothing here uses; with them mypy reads none of it.
set -euo pipefail

python=$1 folder=$2
rm -rf "$folder"
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$folder" \
    'tensorrt-stubs==10.13.0.35.1'
sed -i -E \
    -e 's/\bin: list/in_: list/' \
    -e '/def add_scale_nd/s/channel_axis: int\)/channel_axis: int = ...)/' \
    "$folder/tensorrt_bindings/tensorrt.pyi"
sed -i '/^import tensorrt_libs/d' "$folder/tensorrt/__init__.pyi"
