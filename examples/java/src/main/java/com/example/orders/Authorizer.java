package com.example.orders;

import java.time.Duration;
import java.time.Instant;
import java.util.Map;

/** What a service needs of iamd. {@link IamdAuthorizer} is the real one, and {@link FakeAuthorizer} one for unit tests. */
public interface Authorizer extends AutoCloseable {
    /** True only if iamd allows it. Never throws. */
    boolean isAllowed(Question question);

    /** Waits up to {@code timeout} for an iamd that answers questions, and returns whether there is one. */
    boolean waitReady(Duration timeout);

    @Override
    void close();

    /**
     * May this principal do this action on this resource?
     *
     * @param context facts about the request: strings, booleans, numbers, instants, and collections of these
     * @param session what is known of the principal's session, or null
     */
    record Question(String principal, String action, String resource, Map<String, ?> context, Session session) {}

    /** What is known of the principal's session. A time that is null did not happen, or is not known. */
    record Session(
        Map<String, String> tags, String sourceIdentity, Instant issuedAt, Instant expiresAt, Instant mfaAt) {

        /** A session of which only its tags are known. */
        static Session withTags(Map<String, String> tags) {
            return new Session(tags, "", null, null, null);
        }

        /** A session that began with a second factor. */
        static Session withMfaAt(Instant mfaAt) {
            return new Session(Map.of(), "", null, null, mfaAt);
        }
    }
}
