#!/usr/bin/env bash
# A revocation that is not in force: alice was taken out of the support, but her file does not load.
. "$(dirname "$0")/lib.sh"
start
before=$("$iamd" revision "$store")
alice orders:Get >/dev/null || fail "alice may get orders at first"
user=$store/users/support/alice.json
sed -e '/"support"/d' -e '0,/^  \],$/s//  ]/' "$user" >"$folder/revoked" # a comma is missing now
cp "$folder/revoked" "$user"
eventually metric_is iamd_store_stale 1
happened "The store on disk does not load." IamdStoreStale

alice orders:Get >/dev/null || fail "the last good revision is in force"

step 'curl -s http://127.0.0.1:9464/statusz'
page /statusz >"$folder/page"
grep -q '^stale  *yes' "$folder/page" || fail "the page says that the store is stale"
grep -q '^finding .*users/support/alice.json:[0-9]*:[0-9]*' "$folder/page" || fail "the page names file, line and column"
grep -q "^revision *$before" "$folder/page" || fail "the page names the revision in force"

step 'iamd validate DIR'
if "$iamd" validate "$store" >"$folder/validated" 2>&1; then fail "the files have an error"; fi
grep -q 'users/support/alice.json' "$folder/validated" || fail "validate names the file"

step 'Fix the files, or restore the last good ones.'
sed -i '0,/^  \]$/s//  ],/' "$user"
"$iamd" validate "$store" >/dev/null 2>&1 || fail "the files are valid now"

step '`iamd wait --store DIR`'
"$iamd" wait --server "$grpc" --store "$store" --timeout 20s || fail "the new revision comes into force"
metric_is iamd_store_stale 0 || fail "the store is no longer stale"
page /statusz | grep -q "^revision *$("$iamd" revision "$store")" || fail "the page names the new revision"
if alice orders:Get >/dev/null; then fail "the revocation is in force"; fi
echo "solved"
