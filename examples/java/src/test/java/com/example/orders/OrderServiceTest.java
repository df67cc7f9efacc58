package com.example.orders;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.example.orders.Authorizer.Question;
import com.example.orders.Authorizer.Session;
import com.example.orders.FakeAuthorizer.Permission;
import com.google.protobuf.Value;
import java.math.BigDecimal;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.time.Instant;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Tests of the service with a fake, and of what is sent to iamd. No server is needed. */
class OrderServiceTest {
    private static final String ORDER = "arn:app:orders:::order/1001/1";
    private static final Instant NOON = Instant.parse("2026-03-01T12:00:00Z");

    private static int ask(FakeAuthorizer fake, String path, String token, String body) throws Exception {
        var server = OrderService.start(fake, 0);
        try {
            var uri = URI.create("http://127.0.0.1:" + server.getAddress().getPort() + path);
            var request = HttpRequest.newBuilder(uri).header("Authorization", "Bearer " + token);
            if (body != null) {
                request.POST(HttpRequest.BodyPublishers.ofString(body));
            }
            return HttpClient.newHttpClient().send(request.build(), HttpResponse.BodyHandlers.discarding()).statusCode();
        } finally {
            server.stop(0);
        }
    }

    @Test
    void aRouteAsksForItsOwnActionAndResource() throws Exception {
        var fake = new FakeAuthorizer(true, new Permission("orders:Get", ORDER));
        assertEquals(200, ask(fake, "/orders/1001/1", "customer-1001", null));
        assertEquals(403, ask(fake, "/orders/1001/2", "alice", null));
        var principal = "arn:aws:sts::111122223333:assumed-role/customer/web-1001";
        var session = Session.withTags(Map.of("customer", "1001"));
        assertEquals(new Question(principal, "orders:Get", ORDER, Map.of(), session), fake.questions().get(0));
    }

    @Test
    void aRefundSendsItsAmount() throws Exception {
        var fake = new FakeAuthorizer(true, new Permission("orders:Refund", ORDER));
        assertEquals(200, ask(fake, "/orders/1001/1/refund", "alice", "{\"amount\": 50}"));
        assertEquals(Map.of("orders:amount", 50), fake.questions().get(0).context());
        assertNotNull(fake.questions().get(0).session().mfaAt());
    }

    @Test
    void nobodyIsAskedAboutStrangersAndOddPaths() throws Exception {
        var fake = new FakeAuthorizer(true, new Permission("orders:Get", ORDER));
        assertEquals(401, ask(fake, "/orders/1001/1", "stranger", null));
        assertEquals(404, ask(fake, "/orders/1001/*", "alice", null));
        assertEquals(List.of(), fake.questions());
    }

    @Test
    void readinessIsThatOfIamd() throws Exception {
        assertEquals(200, ask(new FakeAuthorizer(true), "/readyz", "", null));
        assertEquals(503, ask(new FakeAuthorizer(false), "/readyz", "", null));
    }

    @Test
    void nativeValuesBecomeContextValues() {
        assertEquals("x", IamdAuthorizer.toValue("x").getStringValue());
        assertEquals(Value.KindCase.BOOL_VALUE, IamdAuthorizer.toValue(false).getKindCase());
        assertEquals(1.5, IamdAuthorizer.toValue(1.5f).getNumberValue());
        assertEquals(7, IamdAuthorizer.toValue(7L).getNumberValue());
        assertEquals("99.90", IamdAuthorizer.toValue(new BigDecimal("99.90")).getStringValue());
        assertEquals("2026-03-01T12:00:00Z", IamdAuthorizer.toValue(NOON).getStringValue());
        assertEquals(2, IamdAuthorizer.toValue(List.of("a", "b")).getListValue().getValuesCount());
    }

    @Test
    void valuesThatMeanNothingAreRefused() {
        var values = new Object[] {
            null, Map.of(), new Object(), List.of(List.of("a")), Arrays.asList("a", null), Double.NaN, 1L << 53
        };
        for (var value : values) {
            assertThrows(IllegalArgumentException.class, () -> IamdAuthorizer.toValue(value), () -> "" + value);
        }
    }

    @Test
    void aTimeThatIsNoneIsAbsent() {
        var session = IamdAuthorizer.toSession(Session.withMfaAt(NOON));
        assertEquals(NOON.getEpochSecond(), session.getMfaAt().getSeconds());
        assertFalse(session.hasIssuedAt() || session.hasExpiresAt());
        assertFalse(IamdAuthorizer.toRequest(new Question("p", "a:B", "*", Map.of(), null)).hasSession());
    }

    @Test
    void aZeroTimeIsRefused() {
        for (var moment : List.of(Instant.EPOCH, Instant.MIN)) {
            var session = Session.withMfaAt(moment);
            assertThrows(IllegalArgumentException.class, () -> IamdAuthorizer.toSession(session));
        }
    }

    @Test
    void whatCannotBeAskedIsDenied() {
        // Nothing listens there.
        try (var authorizer = new IamdAuthorizer("127.0.0.1:1")) {
            assertFalse(authorizer.isAllowed(new Question("p", "a:B", "*", Map.of("x", Map.of()), null)));
            assertFalse(authorizer.isAllowed(new Question("p", "a:B", "*", Map.of(), null)));
            assertFalse(authorizer.waitReady(Duration.ofMillis(100)));
        }
    }
}
