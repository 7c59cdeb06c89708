#!/usr/bin/env bash
# A study handed to a Ray cluster that is running, with `ray job submit`; it goes on when you close the laptop.
#
#: study = controlled  a shipped study, or a study file beside this script
#: out = /shared/results/controlled  study directory, on storage that all nodes share
#: dashboard = http://127.0.0.1:8265  Ray's dashboard, through an SSH tunnel
#: source = .  checkout of aim-ablations, of which a wheel is built and sent along
#
#   pip install 'ray[default]'          # here and on the nodes; plain ray has no job server
#   ssh -N -L 127.0.0.1:8265:127.0.0.1:8265 HEAD &      # a dashboard is never opened to the network
#   RAY_AUTH_TOKEN_PATH=~/.ray/auth_token bash job-submit.sh
#
# Submit it again after a failure: what is settled is not repeated.
set -euo pipefail

study={{study}}
out={{out}}
source={{source}}
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"
[ -s "$RAY_AUTH_TOKEN_PATH" ] || { echo "no token in $RAY_AUTH_TOKEN_PATH: copy the cluster's there, mode 0600" >&2; exit 2; }
chmod 600 "$RAY_AUTH_TOKEN_PATH"

# Sent is a folder with a wheel and the study file, not the checkout: no results, photos or secrets.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/sent"
python -m pip wheel --quiet --no-deps --wheel-dir "$folder/sent" "$source"
wheels=("$folder"/sent/aim_ablations-*.whl)
if [ -f "$study" ]; then
  cp "$study" "$folder/sent/"
  study=$(basename "$study")
fi

# Every node installs the wheel beside what it has; torch and ray stay the node's own where their versions fit.
# `ray job stop` gives the driver 60 s, not 3, for every run to save its state.
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
