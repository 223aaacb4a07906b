# What a sentinel finds out it writes into its own configuration, on its disk; the first one is made here.
set -eu
file=/var/lib/sentinel/sentinel.conf
[ -s "$file" ] || cat >"$file" <<CONFIGURATION
port 26379
dir /tmp
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $HOSTNAME.sentinels.$NAMESPACE.svc.cluster.local
sentinel monitor marquee redis-ha-0.redis-ha.$NAMESPACE.svc.cluster.local 6379 2
sentinel down-after-milliseconds marquee 1500
sentinel failover-timeout marquee 5000
sentinel parallel-syncs marquee 2
sentinel auth-user marquee marquee_admin
sentinel auth-pass marquee $(cat /run/users/admin-password)
CONFIGURATION
exec redis-server "$file" --sentinel
