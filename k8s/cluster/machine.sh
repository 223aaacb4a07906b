#!/bin/sh
# The first process of a machine inside this one (machine.py): arranges its mounts, and collects the processes
# that others leave behind. Usage: machine.sh FOLDER
set -eu
folder=$1

hostname marquee-node
mkdir -p "$folder/lib" "$folder/log"
# A node's own places, on the disk of the folder: what it has in memory and on disk is gone with it.
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind "$folder/lib" /var/lib
mount --bind "$folder/log" /var/log
# The kernel is shared: nothing in here changes how it works, except the network, which is its own.
mount --bind /proc/sys /proc/sys
mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,ro /proc/sys
# The kubelet wants these values, and ends if it can neither find nor write them: it finds them.
mkdir /run/settings
while read -r name value; do
    file=/run/settings/$(echo "$name" | tr / .)
    echo "$value" > "$file"
    mount --bind "$file" "/proc/sys/$name"
done <<EOF
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
EOF
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward

: > "$folder/ready"
sleep infinity &
# `wait` ends also when a signal comes.
while :; do wait; done
