#!/usr/bin/env bash
# A study submitted to a running Ray cluster with `ray job submit`; it keeps running when you close the laptop.
#
#: study = controlled  a shipped study, or a study file next to this script
#: out = /shared/results/controlled  study directory, on storage that all nodes share
#: dashboard = http://127.0.0.1:8265  Ray's dashboard, through an SSH tunnel
#: source = .  checkout of aim-ablations, from which a wheel is built and sent
#
#   pip install 'ray[default]'          # here and on the nodes; ray without [default] has no job server
#   ssh -N -L 127.0.0.1:8265:127.0.0.1:8265 HEAD &      # never open the dashboard to the network
#   RAY_AUTH_TOKEN_PATH=~/.ray/auth_token bash job-submit.sh
#
# Submit it again after a failure; settled runs are not repeated.
set -euo pipefail

study={{study}}
out={{out}}
source={{source}}
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"
[ -s "$RAY_AUTH_TOKEN_PATH" ] || { echo "no token in $RAY_AUTH_TOKEN_PATH: copy the cluster's token to this file, with mode 0600" >&2; exit 2; }
chmod 600 "$RAY_AUTH_TOKEN_PATH"

# Send a folder with a wheel and the study file instead of the checkout, so that no results, photos or secrets leave
# this machine.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/sent"
python -m pip wheel --quiet --no-deps --wheel-dir "$folder/sent" "$source"
wheels=("$folder"/sent/aim_ablations-*.whl)
if [ -f "$study" ]; then
  cp "$study" "$folder/sent/"
  study=$(basename "$study")
fi

# Every node installs the wheel in addition to its packages; compatible versions of torch and ray are kept.
# `ray job stop` gives the driver 60 s instead of 3 s, so that every run can save its state.
cat >"$folder/runtime_env.json" <<EOF
{
  "working_dir": "$folder/sent",
  "excludes": [".git/", ".venv/", "results/", "*.jpg", "*.pt"],
  "pip": ["\${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/$(basename "${wheels[0]}")"],
  "env_vars": {"RAY_USAGE_STATS_ENABLED": "0", "RAY_JOB_STOP_WAIT_TIME_S": "60"}
}
EOF

ray job submit --address {{dashboard}} --runtime-env "$folder/runtime_env.json" -- \
  ablate run "$study" --address auto --out "$out"
