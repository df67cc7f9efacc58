// A Node client: asks the server at the target one question and prints the answer as JSON.
// Usage: node ask.js TARGET PROTO-FOLDER QUESTION-AS-JSON

"use strict";

const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [target, protos, question] = process.argv.slice(2);
const definition = loader.loadSync("iamd/v1/authorization.proto", {
  includeDirs: [protos],
  enums: String,
  longs: String,
});
const { AuthorizationService } = grpc.loadPackageDefinition(definition).iamd.v1;

const client = new AuthorizationService(target, grpc.credentials.createInsecure());
const deadline = Date.now() + 30_000;
client.authorize(JSON.parse(question), { deadline }, (error, answer) => {
  client.close();
  if (error) {
    console.error(error.message);
    process.exitCode = 1;
  } else {
    console.log(JSON.stringify(answer));
  }
});
