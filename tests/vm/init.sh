#!/bin/bash
# The guest's first process: makes the system up, runs the scenarios one by one,
# says on the console how each ended, switches the machine off.

export PATH=/bin:/usr/bin
/bin/busybox mkdir -p /usr/bin /sbin
# Finds itself in /proc.
/bin/busybox mount -t proc proc /proc
/bin/busybox --install -s /usr/bin
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs -o size=80% tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /run/netns
mount -t bpf bpf /sys/fs/bpf

while read -r module; do
    case "$module" in
    bonding.ko) insmod "/modules/$module" max_bonds=0 ;;
    *) insmod "/modules/$module" ;;
    esac
done </modules/order
ip link set lo up

# Names the NICs by their addresses, as /vm/nics says.
while read -r mac name; do
    for device in /sys/class/net/*; do
        if [ "$(cat "$device/address")" = "$mac" ]; then
            ip link set "${device##*/}" name "$name"
        fi
    done
done </vm/nics

. /vm/scenarios.sh

# The NICs of a namespace come back a moment after it is gone.
wait_for_nics() {
    local tries=50
    while [ $tries -gt 0 ]; do
        local missing=
        while read -r _ nic; do
            [ -e "/sys/class/net/$nic" ] || missing=$nic
        done </vm/nics
        [ -n "$missing" ] || return 0
        sleep 0.1
        tries=$((tries - 1))
    done
    echo "$missing is gone for good"
}

# What a scenario that failed has left.
show_logs() {
    local log namespace
    for log in /run/scenario/*.log; do
        [ -e "$log" ] && echo "--- ${log##*/}" && tail -n 60 "$log"
    done
    for namespace in operator middle agent; do
        [ -e /run/netns/$namespace ] && echo "--- links of the $namespace" &&
            ip -n $namespace -s link
    done
    echo "--- kernel"
    dmesg | tail -n 10
}

only=$(cat /vm/only)
chosen=
while read -r name limit title; do
    if [ -n "$only" ]; then
        case " $only " in *" $name "*) ;; *) continue ;; esac
    fi
    chosen="$chosen $name:$limit"
    echo "@@plan $name $title"
done <<EOF
$(scenarios)
EOF

for item in $chosen; do
    name=${item%:*}
    echo "@@start $name"
    rm -rf /run/scenario
    mkdir -p /run/scenario
    began=$(cut -d. -f1 /proc/uptime)
    if timeout -s KILL "${item#*:}" bash /vm/run.sh "$name" </dev/null; then
        verdict=pass
    else
        [ $? -ne 137 ] || echo "its ${item#*:} seconds were over"
        verdict=fail
        show_logs
    fi
    took=$(($(cut -d. -f1 /proc/uptime) - began))
    # All that is left of the scenario; the first process is spared.
    kill -9 -1
    for namespace in operator middle agent; do
        if ip netns del $namespace 2>/dev/null; then
            sleep 0.2
        fi
    done
    wait_for_nics
    echo
    notes=$(paste -s -d";" /run/scenario/note 2>/dev/null)
    echo "@@$verdict $name $took ${notes//;/, }"
done
echo "@@done"
poweroff -f
