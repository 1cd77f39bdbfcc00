#!/bin/bash
# What docker/compose.yaml relies on in the official image: variables with a dot are settings, and OPENSEARCH_JAVA_OPTS has the last word.
# DISABLE_SECURITY_PLUGIN changes nothing: there is none.
set -euo pipefail
[[ ${1:-} != -* ]] || set -- opensearch "$@"
[ "${1:-opensearch}" = opensearch ] || exec "$@"
settings=()
while IFS='=' read -r -d '' name value; do
  if [[ $name =~ ^[a-z0-9_]+\. ]] && [ -n "$value" ]; then settings+=("-E$name=$value"); fi
done < <(env -0)
options=(
  -Xms1g -Xmx1g -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.security.manager=allow -Djava.io.tmpdir=/tmp -Dfile.encoding=UTF-8
  -Dopensearch.networkaddress.cache.ttl=60 -Djna.nosys=true -Dio.netty.noUnsafe=true -Dio.netty.noKeySetOptimization=true
  -Dlog4j.shutdownHookEnabled=false -Dlog4j2.disable.jmx=true "-Djava.locale.providers=SPI,COMPAT" -Dopensearch.distribution.type=docker
  "-Dopensearch.path.home=$PWD" "-Dopensearch.path.conf=$PWD/config" -Dopensearch.cgroups.hierarchy.override=/
)
export OPENSEARCH_PATH_CONF=$PWD/config
# shellcheck disable=SC2086 # The options of the user are words.
exec java "${options[@]}" ${OPENSEARCH_JAVA_OPTS:-} -cp "$PWD/lib/*" org.opensearch.bootstrap.OpenSearch "${settings[@]}" "${@:2}"
