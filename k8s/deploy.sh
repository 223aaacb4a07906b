#!/usr/bin/env bash
# Brings a stage to the cluster, in the order that it needs: `k8s/deploy.sh early|growth|scale-up [diff]`. With `diff`
# it shows what would change, and changes nothing.
#
# The stores come first; then the services' roles, then their schemas and topics; and only when those are there the
# new release. A job that fails ends this, and what runs goes on as it is. May be run any number of times: it is
# also how a new release is brought.
#
# MARQUEE_VERSION is the release to bring, and MARQUEE_REGISTRY where its images are (`ghcr.io/somebody`); without them, the
# images are those of `make images`. An older version is brought in the same way.
# KUBECTL is the command to use, with its options (default: kubectl). MARQUEE_WAIT is how long each step may take
# (default: 600s). The Secrets that k8s/README.md lists must be there; with MARQUEE_SECRETS=DIR they are made, and
# kept in that folder (`python -m k8s.secrets`).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

overlay=${1:?which overlay: early, growth or scale-up}
case ${2:-} in '' | diff) ;; *) echo "deploy: $2 is not known: diff, or nothing" >&2; exit 2 ;; esac
[ -d "$here/overlays/$overlay" ] || { echo "deploy: there is no overlay $overlay" >&2; exit 2; }
read -ra kubectl <<<"${KUBECTL:-kubectl}"
wait=${MARQUEE_WAIT:-600s}
namespace=marquee
say() { printf 'deploy: %s\n' "$*" >&2; }
k() { "${kubectl[@]}" --namespace "$namespace" "$@"; }

rendered=$(mktemp)
trap 'rm -f "$rendered"' EXIT
"${kubectl[@]}" kustomize --load-restrictor=LoadRestrictionsNone "$here/overlays/$overlay" >"$rendered"
if [ -n "${MARQUEE_VERSION:-}" ]; then
    registry=${MARQUEE_REGISTRY:?where are the images of $MARQUEE_VERSION}
    sed -i -E "s#\\blocalhost/(marquee(-edge|-stores)?):dev\$#$registry/\\1:$MARQUEE_VERSION#" "$rendered"
fi
if [ "${2:-}" = diff ]; then
    # A job can't be changed and is made again, and the namespace must be there before there is anything to compare.
    k diff --server-side --force-conflicts --field-manager=marquee -f "$rendered" \
        -l 'marquee/step notin (once, provision, migrate)' || [ $? = 1 ]
    exit
fi

apply() { k apply --server-side --force-conflicts --field-manager=marquee -f "$rendered" -l "$1" >/dev/null; }

run_jobs() {
    # A job can't be changed: the last release's is removed.
    k delete jobs -l "marquee/step=$1" --ignore-not-found >/dev/null
    apply "marquee/step=$1"
    # Whatever ends first: all are complete, or one has failed.
    local failed=0
    for job in $(k get jobs -l "marquee/step=$1" -o name); do
        # Not by `k`: a function would be a process of its own, and what it started would outlive it.
        local waiting=("${kubectl[@]}" --namespace "$namespace" wait --timeout="$wait" "$job")
        "${waiting[@]}" --for=condition=Complete >/dev/null 2>&1 &
        local complete=$!
        "${waiting[@]}" --for=condition=Failed >/dev/null 2>&1 &
        local broken=$!
        wait -n "$complete" "$broken" || true
        if [ "$(k get "$job" -o 'jsonpath={.status.conditions[?(@.type=="Complete")].status}')" != True ]; then
            say "$job has not become complete:"
            k logs "$job" --tail=20 >&2 || true
            failed=1
        fi
        kill "$complete" "$broken" 2>/dev/null || true
    done
    return "$failed"
}

say "namespace"
"${kubectl[@]}" apply --server-side --force-conflicts --field-manager=marquee -f "$rendered" -l marquee/step=namespace >/dev/null
if [ -n "${MARQUEE_SECRETS:-}" ]; then
    say "secrets"
    python=$(realpath -s "${MARQUEE_VENV:-$here/../.venv}")/bin/python
    folder=$(realpath -m "$MARQUEE_SECRETS")
    options=()
    if grep -q '^kind: Certificate$' "$rendered"; then options=(--without-certificates); fi
    made=$(cd "$here/.." && "$python" -m k8s.secrets --namespace "$namespace" --folder "$folder" "${options[@]}")
    k apply --server-side --force-conflicts --field-manager=marquee -f - <<<"$made" >/dev/null
elif ! k get secret marquee-keys >/dev/null 2>&1; then
    say "the Secrets are not there: k8s/README.md lists them; MARQUEE_SECRETS=DIR makes them"
    exit 1
fi
# What operators change themselves is made once: a release must not turn on again what they have turned off.
k get configmap operators >/dev/null 2>&1 || k create -f "$rendered" -l marquee/step=once >/dev/null
say "stores"
apply 'marquee/step notin (namespace, once, provision, migrate, serve)'
for kind in statefulset cluster.postgresql.cnpg.io kafka.kafka.strimzi.io; do
    for each in $(k get "$kind" -l marquee/step=stores -o name 2>/dev/null); do
        case $each in
            statefulset*) k rollout status "$each" --timeout="$wait" >/dev/null ;;
            *) k wait --for=condition=Ready --timeout="$wait" "$each" >/dev/null ;;
        esac
    done
done
say "roles and schemas"
run_jobs provision
say "migrations"
run_jobs migrate
say "services"
apply 'marquee/step=serve'
for each in $(k get deployments -l marquee/step=serve -o name); do
    k rollout status "$each" --timeout="$wait" >/dev/null
done
say "all is there"
