#!/usr/bin/env bash
# Half of the shop is denied: somebody tidied up a policy and removed what the support needs.
. "$(dirname "$0")/lib.sh"
log=$folder/decisions.jsonl
kept=$folder/kept
start --decision-log required --decision-log-file "$log" --keep-revisions "$kept"
good=$("$iamd" revision "$store")
many 50
policy=$store/managed-policies/ReadOrders.json
sed -i 's/"orders:Get"/"orders:GetPriceList"/' "$policy"
"$iamd" wait --server "$grpc" --store "$store" --timeout 20s
many 200
happened "Most questions are denied." IamdDenialRate

denied='decision="deny"'
[ "$(metric iamd_decisions_total "$denied")" -ge 200 ] || fail "the metric shows the denials"

step 'curl -s http://127.0.0.1:9464/metrics | grep '\''^iamd_decisions_total.*deny'\'' | grep -v '\'' 0$'\'''
page /metrics | grep '^iamd_decisions_total.*deny' | grep -v ' 0$' >"$folder/reasons"
grep -q 'reason="implicit_deny_identity"' "$folder/reasons" || fail "the reason is among them"

step "grep '\"decision\":\"DECISION_DENY\"' decisions.jsonl | tail -n 1"
record=$(grep '"decision":"DECISION_DENY"' "$log" | tail -n 1)
member() { printf '%s' "$record" | grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d'"' -f4; }
id=$(member decisionId)

step 'iamd explain --decision ID --decision-log decisions.jsonl --keep-revisions DIR --store STORE'
"$iamd" explain --decision "$id" --decision-log "$log" --keep-revisions "$kept" --store "$store" >"$folder/explained" || true
grep -q 'an identity policy of .*/alice` must allow `orders:Get`' "$folder/explained" || fail "the explanation says what is missing"

step "grep -o '\"revision\":\"[0-9a-f]*\"' decisions.jsonl | uniq -c"
grep -o '"revision":"[0-9a-f]*"' "$log" | uniq -c >"$folder/revisions"
[ "$(wc -l <"$folder/revisions")" = 2 ] || fail "the log shows the change of the revision"
head -n 1 "$folder/revisions" | grep -q "$good" || fail "the revision before comes first"

step 'restore REVISION'
# The function of the runbook, as it stands there.
eval "$(sed -n '/^restore() {/,/^}/p' "$root/docs/runbook.md")"
(cd "$folder" && DIR=$kept restore "$good") || fail "the files of the revision come back"
[ "$("$iamd" revision "$folder/$good")" = "$good" ] || fail "they are the files of that revision"

step 'diff -r REVISION STORE'
diff -r "$folder/$good" "$store" >"$folder/changed" && fail "something has changed"
grep -q 'orders:GetPriceList' "$folder/changed" || fail "the change is shown"

step 'iamd replay decisions.jsonl --store REVISION'
"$iamd" replay "$log" --store "$folder/$good" >"$folder/replayed" || true
grep -q ' 200 deny -> allow, 0 allow -> deny,' "$folder/replayed" || fail "just the questions of the incident would be allowed again"

step 'Put the good files into the store'
cp "$folder/$good/managed-policies/ReadOrders.json" "$policy"
"$iamd" wait --server "$grpc" --store "$store" --timeout 20s
alice orders:Get >/dev/null || fail "alice may get orders again"
echo "solved"
