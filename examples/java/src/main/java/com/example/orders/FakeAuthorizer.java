package com.example.orders;

import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;

/** Stands in for iamd in unit tests: allows the given permissions, and nothing else. */
public final class FakeAuthorizer implements Authorizer {
    /** An action on a resource. */
    public record Permission(String action, String resource) {}

    private final Set<Permission> allowed;
    private final boolean ready;
    private final List<Question> questions = new CopyOnWriteArrayList<>();

    public FakeAuthorizer(boolean ready, Permission... allowed) {
        this.ready = ready;
        this.allowed = Set.of(allowed);
    }

    /** What it was asked. */
    public List<Question> questions() {
        return questions;
    }

    @Override
    public boolean isAllowed(Question question) {
        IamdAuthorizer.toRequest(question); // a test should fail where iamd could not be asked
        questions.add(question);
        return allowed.contains(new Permission(question.action(), question.resource()));
    }

    @Override
    public boolean waitReady(Duration timeout) {
        return ready;
    }

    @Override
    public void close() {}
}
