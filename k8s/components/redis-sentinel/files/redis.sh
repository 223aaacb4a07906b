# Starts a server as what it was at first: redis-ha-0 is the master, the others follow it. After a failover the
# sentinels set that right; so a master that comes back must not be there before they have missed it, or its replicas
# would forget all that they have.
set -eu
sleep 6
cat /etc/redis/redis.conf - >/tmp/redis.conf <<CONFIGURATION
masterauth $(cat /run/users/admin-password)
replica-announce-ip $HOSTNAME.redis-ha.$NAMESPACE.svc.cluster.local
CONFIGURATION
[ "$HOSTNAME" = redis-ha-0 ] ||
    echo "replicaof redis-ha-0.redis-ha.$NAMESPACE.svc.cluster.local 6379" >>/tmp/redis.conf
exec redis-server /tmp/redis.conf
