#!/bin/sh
# Runs a Kafka server: `kafka-server-start.sh FILE.properties`. As in Kafka's own distribution, KAFKA_HEAP_OPTS
# and KAFKA_OPTS hold options for Java.
# shellcheck disable=SC2086 # they are words
exec java ${KAFKA_HEAP_OPTS:-} ${KAFKA_OPTS:-} -Dlog4j2.configurationFile=/opt/kafka/config/log4j2.properties \
    -cp '/opt/kafka/libs/*' kafka.Kafka "$@"
