// Package authorizer asks iamd whether a principal may do something. Copy this package into your service.
package authorizer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	iamdpb "example.com/orders/gen/iamd/v1"
)

// timeout is how long an answer may take. A later one is a denial.
const timeout = 500 * time.Millisecond

// From here on not every integer is a double, and iamd refuses what it would have to round. Send such a number as text.
const tooLarge = 1 << 53

// Session is what is known of the principal's session. A time that is nil did not happen, or is not known.
type Session struct {
	Tags           map[string]string
	SourceIdentity string
	IssuedAt       *time.Time
	ExpiresAt      *time.Time
	MFAAt          *time.Time
}

// Question asks whether the principal may do the action on the resource.
//
// Values of the context are strings, bools, numbers, times, and slices of these.
type Question struct {
	Principal string
	Action    string
	Resource  string
	Context   map[string]any
	Session   *Session
}

// Authorizer is what a service needs of iamd. Client is the real one, and Fake one for unit tests.
type Authorizer interface {
	// IsAllowed is true only if iamd allows it.
	IsAllowed(ctx context.Context, question Question) bool
	// WaitReady waits for an iamd that answers questions until ctx is done, and returns whether there is one.
	WaitReady(ctx context.Context) bool
}

// Client is a connection to iamd. Make one for the life of the program and share it: it connects again on its own.
type Client struct {
	connection *grpc.ClientConn
	iamd       iamdpb.AuthorizationServiceClient
	health     healthpb.HealthClient
}

// New returns a client of the iamd at `127.0.0.1:50051` or `unix:/run/iamd/iamd.sock`. It does not connect yet.
func New(address string) (*Client, error) {
	reconnect := backoff.DefaultConfig
	reconnect.BaseDelay = 100 * time.Millisecond
	// The default waits up to two minutes before it connects again to an iamd that was restarted.
	reconnect.MaxDelay = time.Second
	connection, err := grpc.NewClient(
		address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// A sidecar is never behind a proxy, whatever `https_proxy` says.
		grpc.WithNoProxy(),
		grpc.WithAuthority("localhost"),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: time.Second}),
	)
	if err != nil {
		return nil, err
	}
	return &Client{
		connection: connection,
		iamd:       iamdpb.NewAuthorizationServiceClient(connection),
		health:     healthpb.NewHealthClient(connection),
	}, nil
}

// IsAllowed is true only if iamd allows it. Whatever goes wrong is logged and is a denial.
func (c *Client) IsAllowed(ctx context.Context, question Question) bool {
	request, err := toRequest(question)
	if err != nil {
		slog.Error("denied without a decision", "error", err)
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := c.iamd.Authorize(ctx, request)
	if err != nil {
		slog.Error("denied without a decision", "error", err)
		return false
	}
	return answer.GetDecision() == iamdpb.Decision_DECISION_ALLOW
}

// WaitReady waits for an iamd that answers questions until ctx is done, and returns whether there is one.
func (c *Client) WaitReady(ctx context.Context) bool {
	// The stream ends with this function.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for ctx.Err() == nil {
		watch, err := c.health.Watch(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
		for err == nil {
			var answer *healthpb.HealthCheckResponse
			answer, err = watch.Recv()
			if answer.GetStatus() == healthpb.HealthCheckResponse_SERVING {
				return true
			}
		}
		// A client that is closed, and a server without health checks, will never be ready.
		if code := status.Code(err); code == codes.Canceled || code == codes.Unimplemented {
			return false
		}
		// An iamd that was restarted broke the stream: ask the next one.
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return false
}

// Close closes the connection.
func (c *Client) Close() error {
	return c.connection.Close()
}

// toRequest returns the question as iamd reads it, or an error for values that have no meaning there.
func toRequest(question Question) (*iamdpb.AuthorizeRequest, error) {
	request := &iamdpb.AuthorizeRequest{
		Principal: question.Principal,
		Action:    question.Action,
		Resource:  question.Resource,
		Context:   make(map[string]*structpb.Value, len(question.Context)),
	}
	for key, value := range question.Context {
		converted, err := toValue(value)
		if err != nil {
			return nil, fmt.Errorf("context %q: %w", key, err)
		}
		request.Context[key] = converted
	}
	if question.Session != nil {
		session, err := toSession(question.Session)
		if err != nil {
			return nil, err
		}
		request.Session = session
	}
	return request, nil
}

func toSession(session *Session) (*iamdpb.SessionContext, error) {
	message := &iamdpb.SessionContext{Tags: session.Tags, SourceIdentity: session.SourceIdentity}
	for _, field := range []struct {
		name   string
		moment *time.Time
		target **timestamppb.Timestamp
	}{
		{"IssuedAt", session.IssuedAt, &message.IssuedAt},
		{"ExpiresAt", session.ExpiresAt, &message.ExpiresAt},
		{"MFAAt", session.MFAAt, &message.MfaAt},
	} {
		if field.moment == nil {
			continue
		}
		// A time.Time that nobody has set is not "no time": it would be a second factor in the year 1.
		if field.moment.Unix() <= 0 {
			return nil, fmt.Errorf("%s is zero: leave it nil if there is none", field.name)
		}
		*field.target = timestamppb.New(*field.moment)
	}
	return message, nil
}

func toValue(value any) (*structpb.Value, error) {
	// Bytes, such as those of an address, are no list of numbers: send them as text.
	kind := reflect.TypeOf(value)
	if kind == nil || kind.Kind() != reflect.Slice || kind.Elem().Kind() == reflect.Uint8 {
		return toScalar(value)
	}
	items := reflect.ValueOf(value)
	list := &structpb.ListValue{}
	for i := range items.Len() {
		item, err := toScalar(items.Index(i).Interface())
		if err != nil {
			return nil, err
		}
		list.Values = append(list.Values, item)
	}
	return structpb.NewListValue(list), nil
}

func toScalar(value any) (*structpb.Value, error) {
	if moment, ok := value.(time.Time); ok {
		if moment.IsZero() {
			return nil, errors.New("a time that nobody has set")
		}
		return structpb.NewStringValue(moment.UTC().Format("2006-01-02T15:04:05.000Z")), nil
	}
	switch native := reflect.ValueOf(value); native.Kind() {
	case reflect.String:
		return structpb.NewStringValue(native.String()), nil
	case reflect.Bool:
		return structpb.NewBoolValue(native.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return toNumber(float64(native.Int()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return toNumber(float64(native.Uint()))
	case reflect.Float32, reflect.Float64:
		return toNumber(native.Float())
	default:
		return nil, fmt.Errorf("%T cannot be a context value", value)
	}
}

func toNumber(number float64) (*structpb.Value, error) {
	if math.IsNaN(number) || math.Abs(number) >= tooLarge {
		return nil, fmt.Errorf("%v is not a number below 2^53: send it as text", number)
	}
	return structpb.NewNumberValue(number), nil
}
