#!/usr/bin/env bash
# Decisions without a record: the folder of the decision log was removed, and iamd runs in the mode best_effort.
. "$(dirname "$0")/lib.sh"
log=$folder/log/decisions.jsonl
mkdir "$folder/log"
start --decision-log best_effort --decision-log-file "$log" --decision-log-queue-bytes 16KiB
many 10
eventually metric_is iamd_decision_log_written_total 10
rm -r "$folder/log"
many 300
lost() { [ "$(metric iamd_decision_log_lost_total)" -gt 0 ]; }
eventually lost
happened "Records of decisions are lost." IamdDecisionsLost

step 'curl -s http://127.0.0.1:9464/statusz | grep '\''decision log'\'''
page /statusz | grep 'decision log' >"$folder/page"
grep -Eq '[1-9][0-9]* lost' "$folder/page" || fail "the page counts what is lost"

step 'The line with the id `decision-log-failed`'
grep '"id":"decision-log-failed"' "$folder/stderr" >"$folder/told" || fail "the log tells it"
grep -q "$log" "$folder/told" || fail "the line names the file"
grep -q 'No such file' "$folder/told" || fail "the line says why"

step 'Make space, or mend the folder'
mkdir "$folder/log"
many 1
is_written() { metric_is iamd_decision_log_queue 0; }
eventually is_written
n_lost=$(metric iamd_decision_log_lost_total)
many 20
metric_is iamd_decision_log_lost_total "$n_lost" || fail "the counter stands still"
grep -q 'the decision log is written again' "$folder/stderr" || fail "the log tells that it is over"

step "grep '\"type\":\"lost\"' decisions.jsonl"
is_told() { grep -q '"type":"lost"' "$log"; }
eventually is_told
told=$(grep '"type":"lost"' "$log" | grep -o '"count":[0-9]*' | awk -F: '{ sum += $2 } END { print sum }')
[ "$told" = "$n_lost" ] || fail "$told records are told as lost, and $n_lost are counted"

step 'iamd replay decisions.jsonl --store STORE'
"$iamd" replay "$log" --store "$store" >"$folder/replayed" || fail "nothing is allowed that was denied"
grep -q "^$n_lost decisions have no record" "$folder/replayed" || fail "it counts the numbers that are missing"
echo "solved"
