// Tests of the service with a fake, and of what is sent to iamd. No server is needed.

import assert from "node:assert/strict";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { FakeAuthorizer, IamdAuthorizer, type Scalar, toRequest, toSession, toValue } from "./authorizer.js";
import { makeService } from "./service.js";

const ORDER = "arn:app:orders:::order/1001/1";
const NOON = new Date("2026-03-01T12:00:00Z");

/** The status of a request to the service. */
async function ask(fake: FakeAuthorizer, path: string, token = "alice", body?: unknown): Promise<number> {
  const server = makeService(fake).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`;
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json", Connection: "close" };
    const answer = await fetch(url, body === undefined ? { headers } : { headers, method: "POST", body: JSON.stringify(body) });
    await answer.text();
    return answer.status;
  } finally {
    server.close();
  }
}

test("a route asks for its own action and resource", async () => {
  const fake = new FakeAuthorizer([["orders:Get", ORDER]]);
  assert.equal(await ask(fake, "/orders/1001/1", "customer-1001"), 200);
  assert.equal(await ask(fake, "/orders/1001/2"), 403);
  assert.deepEqual(fake.questions[0], {
    principal: "arn:aws:sts::111122223333:assumed-role/customer/web-1001",
    session: { tags: { customer: "1001" } },
    action: "orders:Get",
    resource: ORDER,
    context: {},
  });
});

test("a refund sends its amount", async () => {
  const fake = new FakeAuthorizer([["orders:Refund", ORDER]]);
  assert.equal(await ask(fake, "/orders/1001/1/refund", "alice", { amount: 50 }), 200);
  assert.deepEqual(fake.questions[0]?.context, { "orders:amount": 50 });
  assert.ok(fake.questions[0]?.session?.mfaAt);
});

test("nobody is asked about strangers and odd paths", async () => {
  const fake = new FakeAuthorizer([["orders:Get", ORDER]]);
  assert.equal(await ask(fake, "/orders/1001/1", "stranger"), 401);
  assert.equal(await ask(fake, "/orders/1001/*"), 404);
  assert.equal(await ask(fake, "/orders/1001/1/refund", "alice", { amount: "50" }), 400);
  assert.deepEqual(fake.questions, []);
});

test("readiness is that of iamd", async () => {
  assert.equal(await ask(new FakeAuthorizer(), "/readyz"), 200);
  assert.equal(await ask(new FakeAuthorizer([], false), "/readyz"), 503);
});

test("native values become context values", () => {
  assert.deepEqual(toValue("x"), { stringValue: "x" });
  assert.deepEqual(toValue(false), { boolValue: false });
  assert.deepEqual(toValue(1.5), { numberValue: 1.5 });
  assert.deepEqual(toValue(NOON), { stringValue: "2026-03-01T12:00:00.000Z" });
  assert.deepEqual(toValue(["a", 1]), { listValue: { values: [{ stringValue: "a" }, { numberValue: 1 }] } });
});

test("values that mean nothing are refused", () => {
  const values = [null, undefined, {}, [["a"]], [null], Number.NaN, Infinity, 2 ** 53, 1n, new Date(Number.NaN)];
  for (const value of values) {
    assert.throws(() => toValue(value as Scalar));
  }
});

test("a time that is none is absent", () => {
  const session = toSession({ mfaAt: NOON, issuedAt: null });
  assert.deepEqual(session.mfaAt, { seconds: "1772366400", nanos: 0 });
  assert.ok(!("issuedAt" in session) && !("expiresAt" in session));
  assert.ok(!("session" in toRequest({ principal: "p", action: "a:B", resource: "*" })));
});

test("a zero time is refused", () => {
  for (const mfaAt of [new Date(0), new Date(Number.NaN), new Date("0001-01-01T00:00:00Z")]) {
    assert.throws(() => toSession({ mfaAt }), RangeError);
  }
});

test("what cannot be asked is denied", async () => {
  // Nothing listens there.
  const authorizer = new IamdAuthorizer("127.0.0.1:1");
  const question = { principal: "p", action: "a:B", resource: "*" };
  assert.equal(await authorizer.isAllowed({ ...question, context: { x: null as unknown as Scalar } }), false);
  assert.equal(await authorizer.isAllowed(question), false);
  assert.equal(await authorizer.waitReady(100), false);
  authorizer.close();
});
