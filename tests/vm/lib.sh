# What scenarios are made of. Everything here fails loudly under `set -e`.

# The operator's NIC where there are several, and how its frames move. AF_PACKET
# is the least that could hide a fault of the agent's end, which is tested here.
operator_iface=
operator_link=packet

in_operator() { ip netns exec operator "$@"; }
in_agent() { ip netns exec agent "$@"; }

fail() {
    echo "$*"
    exit 1
}

# Leaves a remark for the scenario's line in the report.
note() { echo "$*" >>/run/scenario/note; }

# place NAMESPACE NIC...: moves NICs into a namespace, made if missing, and turns
# them on.
place() {
    local namespace=$1 nic
    shift
    [ -e "/run/netns/$namespace" ] || ip netns add "$namespace"
    for nic in "$@"; do
        ip link set "$nic" netns "$namespace"
        ip -n "$namespace" link set "$nic" up
    done
}

# join_bridge NAMESPACE NIC...: a switch of them, called `bridge`.
join_bridge() {
    local namespace=$1 nic
    shift
    ip -n "$namespace" link add bridge type bridge
    for nic in "$@"; do
        ip -n "$namespace" link set "$nic" master bridge
    done
    ip -n "$namespace" link set bridge up
}

# make_bond NAMESPACE MODE NIC...: a bond of them, called `bond`. The first is
# the active one to begin with.
make_bond() {
    local namespace=$1 mode=$2 nic
    shift 2
    ip netns add "$namespace"
    ip -n "$namespace" link add bond type bond mode "$mode" miimon 50
    for nic in "$@"; do
        ip link set "$nic" netns "$namespace"
        ip -n "$namespace" link set "$nic" master bond
    done
    ip -n "$namespace" link set bond up
    for nic in "$@"; do
        wait_for 20 has_carrier "$namespace" "$nic"
    done
}

# set_cable NIC on|off: asks the emulator, which listens on the console.
set_cable() { echo "@@link $1 $2"; }

mac_of() { in_agent cat "/sys/class/net/$1/address"; }

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
    local tries=$(($1 * 5))
    shift
    while ! "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail "waited in vain for: $*"
        sleep 0.2
    done
}

# has_carrier NAMESPACE NIC [off]
has_carrier() {
    local wanted=1
    [ "${3:-on}" = on ] || wanted=0
    [ "$(ip netns exec "$1" cat "/sys/class/net/$2/carrier")" = $wanted ]
}

# start_agent NIC OPTIONS...: returns once it takes frames.
start_agent() {
    local nic=$1
    shift
    wait_for 20 has_carrier agent "$nic"
    # Not through a function, whose process would be a shell.
    ip netns exec agent bmstools-agent run --iface "$nic" --auth-dir /vm/keys "$@" \
        >/run/scenario/agent.log 2>&1 &
    agent_pid=$!
    wait_for 60 ready_or_gone
    kill -0 $agent_pid 2>/dev/null || fail "the agent ended"
    # Attaching resets some NICs.
    wait_for 20 has_carrier agent "$nic"
}

ready_or_gone() {
    grep -qw ready /run/scenario/agent.log || ! kill -0 $agent_pid
}

# agent_says WORDS: that they are in its log.
agent_says() {
    grep -qF "$1" /run/scenario/agent.log || fail "the agent does not say: $1"
}

# stop_agent: as an init system would. Nothing of it stays attached.
stop_agent() {
    kill -TERM $agent_pid
    wait $agent_pid || fail "the agent ended with $? on SIGTERM"
    in_agent ip link show | grep -q 'prog/xdp' && fail "a program is still attached"
    return 0
}

# has_program NIC KIND: whether a program is attached to the agent's NIC, KIND
# being xdp (native) or xdpgeneric.
has_program() { in_agent ip link show dev "$1" | grep -q " $2 "; }

# bms TARGET ARGUMENTS...: the operator's command.
bms() {
    local target=$1
    shift
    in_operator bmstools -t "$target${operator_iface:+%$operator_iface}" \
        --key /vm/keys/private.pem --link $operator_link "$@"
}

# check_exec TARGET: output, error output and exit code of a command.
check_exec() {
    local code=0
    bms "$1" exec --timeout 60 --shell -- 'echo "out of $(uname -r)"; echo err >&2; exit 7' \
        >/run/scenario/stdout 2>/run/scenario/stderr || code=$?
    [ "$(cat /run/scenario/stdout)" = "out of $(uname -r)" ] &&
        [ "$(cat /run/scenario/stderr)" = err ] && [ $code = 7 ] && return
    echo "exec: exit code $code, not 7"
    head -c 2000 /run/scenario/stdout /run/scenario/stderr
    exit 1
}

# check_push TARGET MEBIBYTES: the file arrives, and is the file that was sent.
check_push() {
    local sent=/run/random-$2 arrived=/run/arrived began took
    [ -e "$sent" ] || dd if=/dev/urandom of="$sent" bs=1M count="$2" 2>/dev/null
    rm -f $arrived
    began=$(cut -d. -f1 /proc/uptime)
    # Not to the console: a terminal gets a progress bar.
    bms "$1" push "$sent" $arrived >/run/scenario/push.log 2>&1
    took=$(($(cut -d. -f1 /proc/uptime) - began))
    [ "$(sha256sum <"$sent")" = "$(sha256sum <$arrived)" ] ||
        fail "what arrived is not what was sent"
    rm -f $arrived
    note "$2 MiB in $took s"
}

# everything NIC[@VLAN] MEBIBYTES [COMMAND...]: exec, push, exec again with the
# agent at NIC, the command beside it, and a clean end.
everything() {
    local nic=${1%@*} size=$2 target
    target=$(mac_of "$nic")${1#"$nic"}
    shift 2
    check_exec "$target"
    check_push "$target" "$size"
    [ $# = 0 ] || "$@"
    check_exec "$target"
    stop_agent
}
