#!/usr/bin/env bash
# restart.sh DEPLOYMENT TIMES: one rolling restart after the other, in namespace $NS.
set -euo pipefail
for ((i = 0; i < $2; ++i)); do
  kubectl -n "$NS" rollout restart "deployment/$1" >/dev/null
  kubectl -n "$NS" rollout status "deployment/$1" --timeout=600s >/dev/null
done
