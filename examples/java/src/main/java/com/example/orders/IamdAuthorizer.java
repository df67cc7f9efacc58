package com.example.orders;

import com.google.protobuf.ListValue;
import com.google.protobuf.Timestamp;
import com.google.protobuf.Value;
import dev.iamd.v1.AuthorizationServiceGrpc;
import dev.iamd.v1.AuthorizeRequest;
import dev.iamd.v1.Decision;
import dev.iamd.v1.SessionContext;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import io.grpc.health.v1.HealthCheckRequest;
import io.grpc.health.v1.HealthCheckResponse;
import io.grpc.health.v1.HealthGrpc;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Collection;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/**
 * A connection to iamd. Make one for the life of the program and share it between threads: it connects again on its own.
 * Copy this file and {@link Authorizer} into your service.
 */
public final class IamdAuthorizer implements Authorizer {
    private static final System.Logger LOG = System.getLogger(IamdAuthorizer.class.getName());

    /** How long an answer may take. A later one is a denial. */
    private static final Duration TIMEOUT = Duration.ofMillis(500);

    /** From here on not every integer is a double, and iamd refuses what it would have to round. */
    private static final double TOO_LARGE = 0x1p53;

    private final ManagedChannel channel;

    /** A client of the iamd at {@code 127.0.0.1:50051} or {@code unix:/run/iamd/iamd.sock}. It does not connect yet. */
    public IamdAuthorizer(String address) {
        channel = Grpc.newChannelBuilder(address, InsecureChannelCredentials.create())
            // Over a Unix socket the default authority would be the socket's path, which HTTP does not allow.
            .overrideAuthority("localhost")
            // A sidecar is never behind a proxy, whatever the system's settings say.
            .proxyDetector(target -> null)
            .build();
    }

    @Override
    public boolean isAllowed(Question question) {
        try {
            var answer = AuthorizationServiceGrpc.newBlockingStub(channel)
                .withDeadlineAfter(TIMEOUT.toNanos(), TimeUnit.NANOSECONDS)
                .authorize(toRequest(question));
            return answer.getDecision() == Decision.DECISION_ALLOW;
        } catch (RuntimeException error) {
            LOG.log(System.Logger.Level.ERROR, "denied without a decision: " + error);
            if (error instanceof StatusRuntimeException) {
                // Otherwise grpc-java waits up to two minutes before it connects again to an iamd that was restarted.
                channel.resetConnectBackoff();
            }
            return false;
        }
    }

    @Override
    public boolean waitReady(Duration timeout) {
        channel.resetConnectBackoff();
        try {
            var answers = HealthGrpc.newBlockingStub(channel)
                .withWaitForReady()
                .withDeadlineAfter(timeout.toNanos(), TimeUnit.NANOSECONDS)
                .watch(HealthCheckRequest.getDefaultInstance());
            while (answers.hasNext()) {
                if (answers.next().getStatus() == HealthCheckResponse.ServingStatus.SERVING) {
                    return true;
                }
            }
        } catch (StatusRuntimeException error) {
            // Not ready.
        }
        return false;
    }

    @Override
    public void close() {
        channel.shutdownNow();
    }

    /** The question as iamd reads it. Throws IllegalArgumentException for values that have no meaning there. */
    static AuthorizeRequest toRequest(Question question) {
        var request = AuthorizeRequest.newBuilder()
            .setPrincipal(question.principal())
            .setAction(question.action())
            .setResource(question.resource());
        question.context().forEach((key, value) -> request.putContext(key, toValue(value)));
        if (question.session() != null) {
            request.setSession(toSession(question.session()));
        }
        return request.build();
    }

    static SessionContext toSession(Session session) {
        var message = SessionContext.newBuilder()
            .putAllTags(session.tags())
            .setSourceIdentity(session.sourceIdentity());
        set("issuedAt", session.issuedAt(), message::setIssuedAt);
        set("expiresAt", session.expiresAt(), message::setExpiresAt);
        set("mfaAt", session.mfaAt(), message::setMfaAt);
        return message.build();
    }

    private static void set(String name, Instant moment, Consumer<Timestamp> setter) {
        if (moment == null) {
            return;
        }
        // The epoch is what many systems give for "no time".
        if (!moment.isAfter(Instant.EPOCH)) {
            throw new IllegalArgumentException(name + " is zero: leave it null if there is none");
        }
        setter.accept(Timestamp.newBuilder().setSeconds(moment.getEpochSecond()).setNanos(moment.getNano()).build());
    }

    static Value toValue(Object value) {
        if (!(value instanceof Collection<?> items)) {
            return toScalar(value);
        }
        var list = ListValue.newBuilder();
        items.forEach(item -> list.addValues(toScalar(item)));
        return Value.newBuilder().setListValue(list).build();
    }

    private static Value toScalar(Object value) {
        var message = Value.newBuilder();
        if (value instanceof String text) {
            return message.setStringValue(text).build();
        }
        if (value instanceof Boolean truth) {
            return message.setBoolValue(truth).build();
        }
        if (value instanceof BigDecimal || value instanceof BigInteger) {
            // As text nothing is rounded, and a policy compares it as a number all the same.
            var exact = value instanceof BigDecimal number ? number.toPlainString() : value.toString();
            return message.setStringValue(exact).build();
        }
        if (value instanceof Number number) {
            if (!(Math.abs(number.doubleValue()) < TOO_LARGE)) {
                throw new IllegalArgumentException(number + " is not a number below 2^53: send it as text");
            }
            return message.setNumberValue(number.doubleValue()).build();
        }
        if (value instanceof Instant moment) {
            return message.setStringValue(moment.truncatedTo(ChronoUnit.MILLIS).toString()).build();
        }
        var type = value == null ? "null" : value.getClass().getName();
        throw new IllegalArgumentException(type + " cannot be a context value");
    }
}
