// A Node client that does as it is told: each line of standard input is a call in JSON, and each line that it prints says how it ended.
// The lines are those of tests/peers/python/test_lives.py.
// Usage: node ask_many_ways.js TARGET [CA [CERTIFICATE KEY]]

"use strict";

const fs = require("fs");
const readline = require("readline");
const grpc = require("@grpc/grpc-js");

const [target, ...files] = process.argv.slice(2);
const [ca, certificate, key] = files.map((file) => fs.readFileSync(file));
const credentials = ca ? grpc.credentials.createSsl(ca, key, certificate) : grpc.credentials.createInsecure();
const client = new grpc.Client(target, credentials);
const same = (bytes) => bytes;

function ask({ method, message, metadata, timeout_ms, cancel_after_ms, wait_for_ready }) {
  const sent = new grpc.Metadata({ waitForReady: Boolean(wait_for_ready) });
  for (const [name, value] of Object.entries(metadata || {})) {
    sent.set(name, name.endsWith("-bin") ? Buffer.from(value) : value);
  }
  const options = { deadline: Date.now() + timeout_ms };
  return new Promise((resolve) => {
    const path = `/iamd.v1.AuthorizationService/${method}`;
    const call = client.makeUnaryRequest(path, same, same, Buffer.from(message, "base64"), sent, options, (error, answer) => {
      resolve(error ? { code: grpc.status[error.code] } : { code: "OK", message: answer.toString("base64") });
    });
    if (cancel_after_ms) {
      setTimeout(() => call.cancel(), cancel_after_ms);
    }
  });
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const told = JSON.parse(line);
    const codes = {};
    let ended = await ask(told);
    for (const until = Date.now() + (told.repeat_ms || 0); Date.now() < until; ended = await ask(told)) {
      codes[ended.code] = (codes[ended.code] || 0) + 1;
    }
    codes[ended.code] = (codes[ended.code] || 0) + 1;
    console.log(JSON.stringify({ ...ended, codes }));
  }
  client.close();
}

main();
