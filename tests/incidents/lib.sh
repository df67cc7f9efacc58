# What the incidents share: a server of their own on loopback, its pages, and the way through the runbook.
#
# An incident makes something go wrong. Without an argument it then says where the server is and waits, so that somebody
# can practise with docs/runbook.md. With `--solve` it takes the steps of the runbook itself and fails if one of them
# does not help. It needs bash and the binary, whose path is in BINARY.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
iamd=${BINARY:-$root/target/debug/iamd}
folder=$(mktemp -d)
store=$folder/policies
server=

end() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap end EXIT

fail() {
    echo "FAILED: $*" >&2
    echo "the server's log:" >&2
    tail -n 20 "$folder/stderr" >&2
    exit 1
}

# Runs a command until it succeeds, for 20 s at most.
eventually() {
    local n
    for n in $(seq 200); do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 0.1
    done
    fail "this never came true: $*"
}

# Starts a server of a copy of the example store, with these options.
start() {
    cp -r "$root/policies" "$store"
    "$iamd" serve --store "$store" --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 --log-format json "$@" \
        2>"$folder/stderr" >/dev/null &
    server=$!
    eventually grep -q "iamd is ready" "$folder/stderr"
    grpc=$(address gRPC)
    http=$(address HTTP)
}

address() {
    grep "listening for $1" "$folder/stderr" | grep -o '127\.0\.0\.1:[0-9]*' | head -n 1
}

# Prints a page, as `curl -s` does.
page() {
    exec 3<>"/dev/tcp/127.0.0.1/${http##*:}"
    printf 'GET %s HTTP/1.0\r\nhost: localhost\r\n\r\n' "$1" >&3
    sed '1,/^\r$/d' <&3
    exec 3>&-
}

# Prints the sum of the series of a metric whose labels contain a text.
metric() {
    page /metrics | awk -v name="$1" -v label="${2:-}" \
        '{ split($1, series, "{") } series[1] == name && index($1, label) { sum += $2 } END { print sum + 0 }'
}

metric_is() { [ "$(metric "$1" "${3:-}")" = "$2" ]; }

# Asks the server as alice of the support. Prints the answer; the status is 0 for an allow.
alice() {
    "$iamd" authorize --server "$grpc" --principal arn:aws:iam::111122223333:user/support/alice \
        --action "$1" --resource arn:app:orders:::order/1001/1
}

# Asks whether alice may get an order, this often.
many() {
    local question='{"principal": "arn:aws:iam::111122223333:user/support/alice", "action": "orders:Get", "resource": "arn:app:orders:::order/1001/1"}'
    for _ in $(seq "$1"); do echo "$question"; done >"$folder/questions"
    "$iamd" authorize --server "$grpc" --requests "$folder/questions" >"$folder/answers"
}

# Says what went wrong. Without `--solve` it waits here, and the rest of the incident is not run.
happened() {
    echo "$1"
    if [ "${mode:-}" != --solve ]; then
        echo "The alert $2 fires. Its server is at $grpc, its pages at http://$http, its process is $server, its store is"
        echo "$store and its log $folder/stderr. Solve it with docs/runbook.md, then press Enter."
        read -r _
        exit 0
    fi
    grep -q "$2" "$root/deploy/prometheus/rules.yaml" || fail "no alert has the name $2"
}

# Begins a step of the runbook, quoted from it.
step() {
    grep -qF -- "$1" "$root/docs/runbook.md" || fail "the runbook does not say: $1"
    echo "- $1"
}

mode=${1:-}
