// Asks iamd whether a principal may do something. Copy this file into your service.

import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import type { ProtoGrpcType as HealthTypes } from "./gen/health.js";
import type { ProtoGrpcType as IamdTypes } from "./gen/authorization.js";
import type { AuthorizationServiceClient } from "./gen/iamd/v1/AuthorizationService.js";
import type { AuthorizeRequest } from "./gen/iamd/v1/AuthorizeRequest.js";
import type { HealthClient } from "./gen/grpc/health/v1/Health.js";
import type { SessionContext } from "./gen/iamd/v1/SessionContext.js";
import type { Timestamp } from "./gen/google/protobuf/Timestamp.js";
import type { Value } from "./gen/google/protobuf/Value.js";

/** Where the protocol is, with what it imports. */
const PROTOS = process.env.IAMD_PROTOS ?? new URL("../../../proto", import.meta.url).pathname;

/** How long an answer may take. A later one is a denial. */
const TIMEOUT_MS = 500;

export type Scalar = string | boolean | number | Date;

/** What is known of the principal's session. A time that is left out did not happen, or is not known. */
export interface Session {
  readonly tags?: Readonly<Record<string, string>>;
  readonly sourceIdentity?: string;
  readonly issuedAt?: Date | null;
  readonly expiresAt?: Date | null;
  readonly mfaAt?: Date | null;
}

/** May this principal do this action on this resource? */
export interface Question {
  readonly principal: string;
  readonly action: string;
  readonly resource: string;
  readonly context?: Readonly<Record<string, Scalar | readonly Scalar[]>>;
  readonly session?: Session | null;
}

/** What a service needs of iamd. `IamdAuthorizer` is the real one, and `FakeAuthorizer` one for unit tests. */
export interface Authorizer {
  /** True only if iamd allows it. Never throws. */
  isAllowed(question: Question): Promise<boolean>;
  /** Waits up to `timeoutMs` for an iamd that answers questions, and tells whether there is one. */
  waitReady(timeoutMs: number): Promise<boolean>;
}

/**
 * A connection to the iamd at `127.0.0.1:50051` or `unix:/run/iamd/iamd.sock`. Make one for the life of the program: it
 * connects again on its own.
 */
export class IamdAuthorizer implements Authorizer {
  readonly #iamd: AuthorizationServiceClient;
  readonly #health: HealthClient;

  constructor(address: string) {
    const definition = loadSync(["iamd/v1/authorization.proto", "grpc/health/v1/health.proto"], {
      includeDirs: [PROTOS],
      enums: String,
      longs: String,
    });
    const protocols = grpc.loadPackageDefinition(definition) as unknown as IamdTypes & HealthTypes;
    const options = {
      // A sidecar is never behind a proxy, whatever `http_proxy` says.
      "grpc.enable_http_proxy": 0,
      "grpc.default_authority": "localhost",
      // The default waits up to two minutes before it connects again to an iamd that was restarted.
      "grpc.initial_reconnect_backoff_ms": 100,
      "grpc.max_reconnect_backoff_ms": 1_000,
    };
    const credentials = grpc.credentials.createInsecure();
    this.#iamd = new protocols.iamd.v1.AuthorizationService(address, credentials, options);
    // Clients with the same address and options share one connection.
    this.#health = new protocols.grpc.health.v1.Health(address, credentials, options);
  }

  async isAllowed(question: Question): Promise<boolean> {
    try {
      const request = toRequest(question);
      return await new Promise<boolean>((resolve, reject) => {
        this.#iamd.authorize(request, { deadline: Date.now() + TIMEOUT_MS }, (error, answer) =>
          error ? reject(error) : resolve(answer?.decision === "DECISION_ALLOW"),
        );
      });
    } catch (error) {
      console.error("denied without a decision:", error instanceof Error ? error.message : error);
      return false;
    }
  }

  waitReady(timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      // The call waits for a connection, and its deadline ends it if there is none.
      const metadata = new grpc.Metadata({ waitForReady: true });
      const watch = this.#health.watch({}, metadata, { deadline: Date.now() + timeoutMs });
      watch.on("data", (answer) => {
        if (answer.status === "SERVING") {
          resolve(true);
          watch.cancel();
        }
      });
      watch.on("error", () => resolve(false));
      watch.on("end", () => resolve(false));
    });
  }

  /** Closes the connection. */
  close(): void {
    this.#iamd.close();
    this.#health.close();
  }
}

/** Stands in for iamd in unit tests: allows the given pairs of action and resource, and nothing else. */
export class FakeAuthorizer implements Authorizer {
  /** What it was asked. */
  readonly questions: Question[] = [];

  constructor(
    private readonly allowed: readonly (readonly [action: string, resource: string])[] = [],
    private readonly ready = true,
  ) {}

  async isAllowed(question: Question): Promise<boolean> {
    toRequest(question); // a test should fail where iamd could not be asked
    this.questions.push(question);
    return this.allowed.some(([action, resource]) => action === question.action && resource === question.resource);
  }

  async waitReady(): Promise<boolean> {
    return this.ready;
  }
}

/** The question as iamd reads it. Throws for values that have no meaning there. */
export function toRequest(question: Question): AuthorizeRequest {
  const request: AuthorizeRequest = {
    principal: question.principal,
    action: question.action,
    resource: question.resource,
    context: Object.fromEntries(Object.entries(question.context ?? {}).map(([key, value]) => [key, toValue(value)])),
  };
  if (question.session) {
    request.session = toSession(question.session);
  }
  return request;
}

/** The session as iamd reads it. */
export function toSession(session: Session): SessionContext {
  const message: SessionContext = { tags: { ...session.tags }, sourceIdentity: session.sourceIdentity ?? "" };
  for (const name of ["issuedAt", "expiresAt", "mfaAt"] as const) {
    const moment = session[name];
    if (moment !== undefined && moment !== null) {
      message[name] = toTimestamp(name, moment);
    }
  }
  return message;
}

function toTimestamp(name: string, moment: Date): Timestamp {
  // `new Date(0)` and `new Date(undefined)` are not "no time".
  if (!(moment.getTime() > 0)) {
    throw new RangeError(`${name} is zero or no time at all: leave it out if there is none`);
  }
  const milliseconds = moment.getTime();
  return { seconds: String(Math.floor(milliseconds / 1_000)), nanos: (milliseconds % 1_000) * 1_000_000 };
}

/** A context value as iamd reads it. */
export function toValue(value: Scalar | readonly Scalar[]): Value {
  return Array.isArray(value) ? { listValue: { values: value.map(toScalar) } } : toScalar(value as Scalar);
}

function toScalar(value: Scalar): Value {
  if (typeof value === "string") {
    return { stringValue: value };
  }
  if (typeof value === "boolean") {
    return { boolValue: value };
  }
  if (typeof value === "number") {
    // From 2^53 on not every integer is a double, and iamd refuses what it would have to round.
    if (!Number.isFinite(value) || Math.abs(value) >= 2 ** 53) {
      throw new RangeError(`${value} is not a number below 2^53: send it as text`);
    }
    return { numberValue: value };
  }
  if (value instanceof Date) {
    return { stringValue: value.toISOString() }; // throws for an invalid date
  }
  throw new TypeError(`${value === null ? "null" : typeof value} cannot be a context value`);
}
