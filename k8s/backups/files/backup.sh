# Writes one more backup of the database to /backups, and keeps the newest KEEP of them.
set -eu
cd /backups
name=marquee-$(date -u +%Y%m%dT%H%M%SZ).dump
rm -f ./*.part
# One snapshot of all schemas: the offsets of the log are of the same moment as the data.
pg_dump --format=custom --dbname=marquee --file="$name.part"
# A dump that was broken off can't be listed.
pg_restore --list "$name.part" >/dev/null
mv "$name.part" "$name"
ls -1 marquee-*.dump | head -n "-$KEEP" | xargs -r rm
echo "backup: $name, $(stat -c %s "$name") bytes; there are $(ls -1 marquee-*.dump | wc -l)"
