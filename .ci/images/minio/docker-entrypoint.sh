#!/bin/sh
# What docker/compose.yaml relies on in the official image: the command is MinIO's.
set -eu
[ "$1" = minio ] || set -- minio "$@"
exec "$@"
