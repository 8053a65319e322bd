# The scenarios: `scenarios` lists them, one `NAME LIMIT-IN-SECONDS TITLE` a line,
# and `run_NAME` is each one's test (with `_` for `-`).

scenarios() {
    cat <<EOF
native 240 virtio-net, native XDP: exec, push of 64 MiB
generic 240 virtio-net, generic XDP: exec, push of 64 MiB
packet 240 virtio-net, AF_PACKET: exec, push of 64 MiB
operator-xdp 240 virtio-net, native XDP at both ends: exec, push of 64 MiB
zero-copy 240 virtio-net, zero-copy asked for: exec, push of 64 MiB
bond-backup 240 active-backup bond of two: exec, push of 64 MiB, cable pulled, exec
bond-xor 240 balance-xor bond of two to the same: exec, push of 64 MiB
vlan-virtio 240 VLAN without a device for it, native XDP: exec, push
vlan-e1000e 240 VLAN tags stripped by an e1000e, XDP: exec, push of 64 MiB
vlan-e1000e-packet 240 the same, AF_PACKET: exec, push
vlan-vmxnet3 240 VLAN tags stripped by a vmxnet3, XDP: exec, push of 64 MiB
vlan-vmxnet3-packet 240 the same, AF_PACKET: exec, push
vlan-device 240 VLAN tags stripped, and a VLAN device for them: exec, push, ping
netem 300 3 % loss, 10 % reordering, 2 ms delay each way: exec, push
netem-packet 300 the same, AF_PACKET: exec, push
EOF
}

# over_virtio LINK: an agent on a virtio-net, and a wire to the operator's.
over_virtio() {
    place operator op-virtio
    place agent ag-virtio
    start_agent ag-virtio --link "$1"
}

run_native() {
    over_virtio xdp
    has_program ag-virtio xdp || fail "no native program on the NIC"
    everything ag-virtio 64
}

run_generic() {
    over_virtio xdp-generic
    has_program ag-virtio xdpgeneric || fail "no generic program on the NIC"
    everything ag-virtio 64
}

run_packet() {
    over_virtio packet
    everything ag-virtio 64
}

run_operator_xdp() {
    over_virtio xdp
    operator_link=xdp
    everything ag-virtio 64
}

# Where the driver has zero-copy it is used. Where it has none (virtio-net before
# Linux 6.13), who insists on it is told so, and who leaves the choice to the agent
# is served by copying.
run_zero_copy() {
    place operator op-zc
    place agent ag-zc
    if has_zero_copy; then
        start_agent ag-zc --link xdp --zero-copy
        agent_says "native XDP, 1 queue, zero-copy"
        note zero-copy
    else
        in_agent bmstools-agent run --iface ag-zc --auth-dir /vm/keys --link xdp --zero-copy \
            2>/run/scenario/refused.log && fail "the agent took zero-copy for granted"
        grep -q 'no zero-copy' /run/scenario/refused.log || fail "the agent does not say why"
        start_agent ag-zc --link auto --zero-copy
        agent_says "native XDP, 1 queue, copy"
        note "copied: this kernel's driver has no zero-copy"
    fi
    everything ag-zc 64
}

# Since 6.13.
has_zero_copy() {
    local major minor
    IFS=. read -r major minor _ <<<"$(uname -r)"
    [ "$major" -gt 6 ] || { [ "$major" = 6 ] && [ "$minor" -ge 13 ]; }
}

# A learning switch at the operator's end, and a cable pulled out at both ends.
run_bond_backup() {
    local pulled
    place operator op-bond0 op-bond1
    join_bridge operator op-bond0 op-bond1
    operator_iface=bridge
    make_bond agent active-backup ag-bond0 ag-bond1
    start_agent bond
    agent_says "ag-bond0: using native XDP"
    agent_says "ag-bond1: using native XDP"
    check_exec "$(mac_of bond)"
    check_push "$(mac_of bond)" 64
    # The second time back to the first.
    for _ in 1 2; do
        pulled=$(active_slave)
        set_cable "${pulled/ag/op}" off
        set_cable $pulled off
        wait_for 20 has_carrier agent $pulled off
        wait_for 20 has_other_active_slave $pulled
        check_exec "$(mac_of bond)"
        set_cable $pulled on
        set_cable "${pulled/ag/op}" on
        wait_for 20 has_carrier agent $pulled
        wait_for 20 has_carrier operator "${pulled/ag/op}"
        check_exec "$(mac_of bond)"
    done
    stop_agent
}

active_slave() { in_agent cat /sys/class/net/bond/bonding/active_slave; }

has_other_active_slave() {
    local active
    active=$(active_slave)
    [ -n "$active" ] && [ "$active" != "$1" ]
}

run_bond_xor() {
    make_bond operator balance-xor op-bond0 op-bond1
    make_bond agent balance-xor ag-bond0 ag-bond1
    operator_iface=bond
    start_agent bond
    everything bond 64
}

run_vlan_virtio() {
    place operator op-virtio
    place agent ag-virtio
    start_agent ag-virtio --link xdp
    everything ag-virtio@1708 16
    # And untagged, by the same agent.
    start_agent ag-virtio --link xdp
    check_exec "$(mac_of ag-virtio)"
    stop_agent
}

# vlan_stripped DRIVER LINK MEBIBYTES: the NIC takes tags away, for 8021q's sake.
vlan_stripped() {
    place operator "op-$1"
    place agent "ag-$1"
    in_agent ethtool -K "ag-$1" rxvlan on
    start_agent "ag-$1" --link "$2"
    check_exec "$(mac_of "ag-$1")"
    note "$(sed -n 's/.* using \([^,]*\).*/\1/p' /run/scenario/agent.log)"
    everything "ag-$1@1708" "$3"
    in_agent ethtool -k "ag-$1" | grep -q 'rx-vlan-offload: on' ||
        fail "the NIC's own stripping is not on again"
}

run_vlan_e1000e() {
    vlan_stripped e1000e auto 64
    agent_says "generic XDP"
}

run_vlan_e1000e_packet() { vlan_stripped e1000e packet 16; }

run_vlan_vmxnet3() { vlan_stripped vmxnet3 auto 64; }

run_vlan_vmxnet3_packet() { vlan_stripped vmxnet3 packet 16; }

# The host's own traffic in the same VLAN goes on beside ours.
run_vlan_device() {
    local link end namespace nic host
    place operator op-e1000e
    place agent ag-e1000e
    operator_iface=op-e1000e
    in_agent ethtool -K ag-e1000e rxvlan on
    for end in operator:op-e1000e:1 agent:ag-e1000e:2; do
        IFS=: read -r namespace nic host <<<"$end"
        ip -n "$namespace" link add link "$nic" name vlan type vlan id 1708
        ip -n "$namespace" address add "192.0.2.$host/24" dev vlan
        ip -n "$namespace" link set vlan up
    done
    for link in auto packet; do
        start_agent ag-e1000e --link $link
        everything ag-e1000e@1708 16 in_operator ping -q -c 3 -W 5 192.0.2.2
    done
}

# The operator's end is a host behind a bridge whose ports lose, delay and reorder
# what they send: that catches frames of every kind of socket.
over_bad_cable() {
    local port lost
    place middle op-virtio
    place agent ag-virtio
    ip netns add operator
    ip -n operator link add op-veth type veth peer name veth netns middle
    ip -n operator link set op-veth up
    ip -n middle link set veth up
    join_bridge middle op-virtio veth
    operator_iface=op-veth
    for port in op-virtio veth; do
        ip netns exec middle tc qdisc add dev $port root netem \
            limit 10000 delay 2ms reorder 10% loss 3%
    done
    start_agent ag-virtio --link "$1"
    for _ in 1 2 3 4 5; do
        check_exec "$(mac_of ag-virtio)"
    done
    everything ag-virtio 8
    for port in op-virtio veth; do
        lost=$(ip netns exec middle tc -s qdisc show dev $port |
            sed -n 's/.*dropped \([0-9]*\).*/\1/p')
        [ "$lost" -gt 0 ] || fail "no frame was lost: there was no bad cable"
        note "$lost frames lost"
    done
}

run_netem() { over_bad_cable xdp; }

run_netem_packet() { over_bad_cable packet; }
