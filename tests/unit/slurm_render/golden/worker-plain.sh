#!/bin/bash
#SBATCH --job-name=mx-11111111-cpu-4
#SBATCH --comment=matrix:11111111-2222-3333-4444-555555555555:cpu:4:1:1
#SBATCH --output=/shared/team/matrix/clusters/11111111-2222-3333-4444-555555555555/logs/mx-11111111-cpu-4-1-1.log
#SBATCH --open-mode=append
#SBATCH --export=ALL
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=2048M
#SBATCH --requeue
#SBATCH --signal=B:USR1@300

# What was set for the login node does not count here.
unset SLURM_EXPORT_ENV LD_LIBRARY_PATH PYTHONPATH PYTHONHOME
[ -n "${HOME:-}" ] || HOME=~
[ -n "${USER:-}" ] || USER=$(id -un)
[ -n "${LANG:-}" ] || LANG=C.UTF-8
export HOME USER LANG LOGNAME="$USER" PATH="${PATH:-/usr/local/bin:/usr/bin:/bin}"

# From the profile default of the site's file:
# (no lines)

PYTHON=/shared/team/matrix/env/bin/python
STATUS=/shared/team/matrix/clusters/11111111-2222-3333-4444-555555555555/nodes/cpu-4-1-1.json
if ! [ -x "$PYTHON" ]; then
  why="the Python of profile default ($PYTHON) is not on $(uname -n); make it readable there, or correct python in the site's file"
  echo "$why" >&2
  printf '{"phase": "Failed", "reason": "StartFailed", "message": "%s", "jobId": "%s"}\n' "$why" "$SLURM_JOB_ID" >"$STATUS.draft"
  mv "$STATUS.draft" "$STATUS"
  exit 127
fi
exec "$PYTHON" -m matrix_slurm_bridge.node worker \
  --cluster /shared/team/matrix/clusters/11111111-2222-3333-4444-555555555555 \
  --uid 11111111-2222-3333-4444-555555555555 \
  --role cpu \
  --index 4 \
  --attempt 1 \
  --serial 1 \
  --ray-version 2.60.0 \
  --cpus 1 \
  --memory 2147483648 \
  --gpus 0 \
  --ports 20000-31999 \
  --grace 1800
