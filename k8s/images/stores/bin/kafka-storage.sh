#!/bin/sh
# Formats a Kafka server's log folders: `kafka-storage.sh format --ignore-formatted -t ID -c FILE.properties`.
exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dlog4j2.configurationFile=/opt/kafka/config/log4j2.properties \
    -cp '/opt/kafka/libs/*' kafka.tools.StorageTool "$@"
