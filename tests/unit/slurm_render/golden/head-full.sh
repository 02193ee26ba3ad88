#!/bin/bash
#SBATCH --job-name=mx-11111111-head-0
#SBATCH --comment=matrix:11111111-2222-3333-4444-555555555555:head:0:3:2
#SBATCH --output=/shared/team/matrix/clusters/11111111-2222-3333-4444-555555555555/logs/mx-11111111-head-0-3-2.log
#SBATCH --open-mode=append
#SBATCH --export=ALL
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem=4096M
#SBATCH --partition=services
#SBATCH --account=team-a
#SBATCH --qos=normal
#SBATCH --time=10080
#SBATCH --no-requeue
#SBATCH --exclude=broken[1-3]

# What was set for the login node does not count here.
unset SLURM_EXPORT_ENV LD_LIBRARY_PATH PYTHONPATH PYTHONHOME
[ -n "${HOME:-}" ] || HOME=~
[ -n "${USER:-}" ] || USER=$(id -un)
[ -n "${LANG:-}" ] || LANG=C.UTF-8
export HOME USER LANG LOGNAME="$USER" PATH="${PATH:-/usr/local/bin:/usr/bin:/bin}"

# From the profile gpu of the site's file:
source /etc/profile.d/modules.sh
module load cuda/12.8

PYTHON=/shared/team/matrix/env/bin/python
STATUS=/shared/team/matrix/clusters/11111111-2222-3333-4444-555555555555/nodes/head-3-2.json
if ! [ -x "$PYTHON" ]; then
  why="the Python of profile gpu ($PYTHON) is not on $(uname -n); make it readable there, or correct python in the site's file"
  echo "$why" >&2
  printf '{"phase": "Failed", "reason": "StartFailed", "message": "%s", "jobId": "%s"}\n' "$why" "$SLURM_JOB_ID" >"$STATUS.draft"
  mv "$STATUS.draft" "$STATUS"
  exit 127
fi
exec "$PYTHON" -m matrix_slurm_bridge.node head \
  --cluster /shared/team/matrix/clusters/11111111-2222-3333-4444-555555555555 \
  --uid 11111111-2222-3333-4444-555555555555 \
  --role head \
  --index 0 \
  --attempt 3 \
  --serial 2 \
  --ray-version 2.60.0 \
  --cpus 0 \
  --memory 4294967296 \
  --gpus 0 \
  --ports 25000-25999 \
  --local-directory /scratch/local
