# Runs the scenario that $1 names.
. /vm/lib.sh
. /vm/scenarios.sh

set -euo pipefail
"run_${1//-/_}"
