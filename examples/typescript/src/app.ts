// Serves the order service on 127.0.0.1 at PORT, and asks iamd at IAMD_ADDRESS.

import type { AddressInfo } from "node:net";
import { IamdAuthorizer } from "./authorizer.js";
import { makeService } from "./service.js";

const authorizer = new IamdAuthorizer(process.env.IAMD_ADDRESS ?? "127.0.0.1:50051");
const server = makeService(authorizer).listen(Number(process.env.PORT ?? 8080), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
