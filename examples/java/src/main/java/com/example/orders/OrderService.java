package com.example.orders;

import com.example.orders.Authorizer.Question;
import com.example.orders.Authorizer.Session;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.regex.Pattern;

/** A small order service that asks iamd before it acts. It listens on 127.0.0.1 at PORT and asks iamd at IAMD_ADDRESS. */
public final class OrderService {
    /** Who somebody is comes from your own authentication. These tokens stand for it. */
    private static final Map<String, Caller> CALLERS = Map.of(
        "alice", new Caller("arn:aws:iam::111122223333:user/support/alice", Session.withMfaAt(Instant.now())),
        "alice-without-mfa", new Caller("arn:aws:iam::111122223333:user/support/alice", null),
        "customer-1001",
            new Caller(
                "arn:aws:sts::111122223333:assumed-role/customer/web-1001",
                Session.withTags(Map.of("customer", "1001"))));

    // Parts of an ARN are checked before they become one, so that no caller writes ARNs of their own.
    private static final Pattern ORDER = Pattern.compile("/orders/([0-9]{1,12})/([0-9]{1,12})(/refund)?");
    private static final int LONGEST_BODY = 4096;
    private static final ObjectMapper JSON =
        new ObjectMapper().enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS);

    private record Caller(String principal, Session session) {}

    private final Authorizer authorizer;

    private OrderService(Authorizer authorizer) {
        this.authorizer = authorizer;
    }

    /** Starts the service at a port of 127.0.0.1; 0 lets the system choose. */
    static HttpServer start(Authorizer authorizer, int port) throws IOException {
        var service = new OrderService(authorizer);
        var server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
        server.setExecutor(Executors.newFixedThreadPool(16));
        server.createContext("/orders/", exchange -> answer(exchange, () -> service.orders(exchange)));
        server.createContext("/readyz", exchange -> answer(exchange, service::ready));
        server.start();
        return server;
    }

    private Response orders(HttpExchange exchange) throws IOException {
        var token = exchange.getRequestHeaders().getFirst("Authorization");
        var caller = token == null ? null : CALLERS.get(token.replaceFirst("^Bearer ", ""));
        if (caller == null) {
            return new Response(401, Map.of());
        }
        var order = ORDER.matcher(exchange.getRequestURI().getRawPath());
        if (!order.matches()) {
            return new Response(404, Map.of());
        }
        var resource = "arn:app:orders:::order/%s/%s".formatted(order.group(1), order.group(2));
        if (order.group(3) == null) {
            return exchange.getRequestMethod().equals("GET") ? read(caller, resource) : new Response(405, Map.of());
        }
        return exchange.getRequestMethod().equals("POST")
            ? refund(caller, resource, exchange)
            : new Response(405, Map.of());
    }

    private Response read(Caller caller, String resource) {
        return isAllowed(caller, "orders:Get", resource, Map.of())
            ? new Response(200, Map.of("order", resource))
            : new Response(403, Map.of());
    }

    private Response refund(Caller caller, String resource, HttpExchange exchange) throws IOException {
        var body = exchange.getRequestBody().readNBytes(LONGEST_BODY);
        Number amount;
        try {
            var field = JSON.readTree(body).path("amount");
            if (!field.isNumber()) {
                return new Response(400, Map.of());
            }
            amount = field.numberValue();
        } catch (JsonProcessingException error) {
            return new Response(400, Map.of());
        }
        return isAllowed(caller, "orders:Refund", resource, Map.of("orders:amount", amount))
            ? new Response(200, Map.of("refunded", amount))
            : new Response(403, Map.of());
    }

    private boolean isAllowed(Caller caller, String action, String resource, Map<String, ?> context) {
        return authorizer.isAllowed(new Question(caller.principal(), action, resource, context, caller.session()));
    }

    private Response ready() {
        return new Response(authorizer.waitReady(Duration.ofMillis(500)) ? 200 : 503, Map.of());
    }

    private record Response(int status, Map<String, ?> body) {}

    private interface Handler {
        Response handle() throws IOException;
    }

    private static void answer(HttpExchange exchange, Handler handler) throws IOException {
        try (exchange) {
            Response response;
            try {
                response = handler.handle();
            } catch (RuntimeException error) {
                response = new Response(500, Map.of());
            }
            var body = JSON.writeValueAsString(response.body()).getBytes(StandardCharsets.UTF_8);
            exchange.getResponseHeaders().set("Content-Type", "application/json");
            exchange.sendResponseHeaders(response.status(), body.length);
            exchange.getResponseBody().write(body);
        }
    }

    public static void main(String[] arguments) throws IOException {
        var environment = System.getenv();
        var authorizer = new IamdAuthorizer(environment.getOrDefault("IAMD_ADDRESS", "127.0.0.1:50051"));
        var server = start(authorizer, Integer.parseInt(environment.getOrDefault("PORT", "8080")));
        System.out.println("listening on http://127.0.0.1:" + server.getAddress().getPort());
    }
}
