// The routes of a small order service, which asks iamd before it acts.

import express, { type Express, type Request, type Response } from "express";
import type { Authorizer, Question, Session } from "./authorizer.js";

interface Caller {
  readonly principal: string;
  readonly session: Session | null;
}

const ALICE = "arn:aws:iam::111122223333:user/support/alice";

/** Who somebody is comes from your own authentication. These tokens stand for it. */
const CALLERS: ReadonlyMap<string, Caller> = new Map([
  ["alice", { principal: ALICE, session: { mfaAt: new Date() } }],
  ["alice-without-mfa", { principal: ALICE, session: null }],
  [
    "customer-1001",
    {
      principal: "arn:aws:sts::111122223333:assumed-role/customer/web-1001",
      session: { tags: { customer: "1001" } },
    },
  ],
]);

/** Parts of an ARN are checked before they become one, so that no caller writes ARNs of their own. */
const ID = /^[0-9]{1,12}$/;

export function makeService(authorizer: Authorizer): Express {
  const service = express();
  service.use(express.json({ limit: "4kb" }));

  /** Whether the caller may do the action on the order of the path. Answers the request if not. */
  async function require(request: Request, response: Response, action: string, context: Question["context"] = {}) {
    const caller = CALLERS.get((request.get("Authorization") ?? "").replace(/^Bearer /, ""));
    const { customer, number } = request.params;
    if (!caller) {
      response.sendStatus(401);
      return false;
    }
    if (typeof customer !== "string" || typeof number !== "string" || !ID.test(customer) || !ID.test(number)) {
      response.sendStatus(404);
      return false;
    }
    const resource = `arn:app:orders:::order/${customer}/${number}`;
    const allowed = await authorizer.isAllowed({ ...caller, action, resource, context });
    if (!allowed) {
      response.sendStatus(403);
    }
    return allowed;
  }

  service.get("/orders/:customer/:number", async (request, response) => {
    if (await require(request, response, "orders:Get")) {
      response.json({ customer: request.params.customer, number: request.params.number });
    }
  });

  service.post("/orders/:customer/:number/refund", async (request, response) => {
    const amount: unknown = request.body?.amount;
    if (typeof amount !== "number") {
      response.sendStatus(400);
    } else if (await require(request, response, "orders:Refund", { "orders:amount": amount })) {
      response.json({ refunded: amount });
    }
  });

  service.get("/readyz", async (_, response) => {
    response.sendStatus((await authorizer.waitReady(500)) ? 200 : 503);
  });

  return service;
}
