# Runs the scenario that $1 names, and shows the agent's log if it fails.
. /vm/lib.sh
. /vm/scenarios.sh

show_logs() {
    status=$?
    if [ $status -ne 0 ]; then
        for log in /run/scenario/*.log; do
            [ -e "$log" ] && { echo "--- ${log##*/}"; cat "$log"; }
        done
        echo "--- links"
        for namespace in operator middle agent; do
            ip -n $namespace -s link 2>/dev/null
        done
    fi
    return $status
}

trap show_logs EXIT
set -euo pipefail
"run_${1//-/_}"
