// A Node client: asks the questions of standard input, one per line as JSON, in one call, and prints the results as JSON.
// Usage: node many.js TARGET PROTO-FOLDER batchAuthorize|streamAuthorize

"use strict";

const fs = require("fs");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [target, protos, call] = process.argv.slice(2);
const definition = loader.loadSync("iamd/v1/authorization.proto", {
  includeDirs: [protos],
  enums: String,
  longs: String,
});
const { AuthorizationService } = grpc.loadPackageDefinition(definition).iamd.v1;
const questions = fs
  .readFileSync(0, "utf8")
  .split("\n")
  .filter((line) => line)
  .map((line) => JSON.parse(line));

const client = new AuthorizationService(target, grpc.credentials.createInsecure());
const deadline = Date.now() + 30_000;
const print = (result) => console.log(JSON.stringify(result));
const end = (error) => {
  client.close();
  if (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
};

if (call === "batchAuthorize") {
  client.batchAuthorize({ requests: questions }, { deadline }, (error, answer) => {
    end(error);
    if (!error) {
      answer.results.forEach(print);
    }
  });
} else {
  const stream = client.streamAuthorize({ deadline });
  stream.on("data", print);
  stream.on("error", end);
  stream.on("end", () => end());
  // All are sent before the first answer can be read.
  questions.forEach((request) => stream.write({ request }));
  stream.end();
}
