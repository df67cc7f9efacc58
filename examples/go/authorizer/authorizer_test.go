package authorizer

import (
	"context"
	"math"
	"net"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestNativeValuesBecomeContextValues(t *testing.T) {
	type Country string
	for _, test := range []struct {
		value any
		json  string
	}{
		{"x", `"x"`},
		{Country("FR"), `"FR"`},
		{true, "true"},
		{7, "7"},
		{uint8(7), "7"},
		{1.5, "1.5"},
		{noon, `"2026-03-01T12:00:00.000Z"`},
		{[]string{"a", "b"}, `["a", "b"]`},
		{[]any{"a", 1}, `["a", 1]`},
		{[]string{}, "[]"},
	} {
		want := &structpb.Value{}
		if err := protojson.Unmarshal([]byte(test.json), want); err != nil {
			t.Fatal(err)
		}
		if got, err := toValue(test.value); err != nil || !proto.Equal(got, want) {
			t.Errorf("%v: %v, %v", test.value, got, err)
		}
	}
}

func TestValuesThatMeanNothingAreRefused(t *testing.T) {
	var none *string
	for _, value := range []any{
		nil, none, map[string]any{}, struct{}{}, [][]string{{"a"}}, []any{nil}, math.NaN(), math.Inf(1),
		int64(1) << 53, uint64(math.MaxUint64), time.Time{}, []byte("ab"), net.IPv4(10, 0, 0, 1), [][]byte{[]byte("ab")},
	} {
		if got, err := toValue(value); err == nil {
			t.Errorf("%v became %v", value, got)
		}
	}
}

func TestATimeThatIsNilIsAbsent(t *testing.T) {
	session, err := toSession(&Session{MFAAt: &noon})
	if err != nil {
		t.Fatal(err)
	}
	if !session.GetMfaAt().AsTime().Equal(noon) || session.IssuedAt != nil || session.ExpiresAt != nil {
		t.Error(session)
	}
	if request, err := toRequest(Question{}); err != nil || request.Session != nil {
		t.Error(request, err)
	}
}

func TestAZeroTimeIsRefused(t *testing.T) {
	for _, moment := range []time.Time{{}, time.Unix(0, 0)} {
		if session, err := toSession(&Session{MFAAt: &moment}); err == nil {
			t.Errorf("%v became %v", moment, session)
		}
	}
}

func TestWhatCannotBeAskedIsDenied(t *testing.T) {
	// Nothing listens there.
	client, err := New("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if client.IsAllowed(context.Background(), Question{Context: map[string]any{"x": nil}}) {
		t.Error("a value without a meaning was allowed")
	}
	if client.IsAllowed(context.Background(), Question{Principal: "p", Action: "a:B", Resource: "*"}) {
		t.Error("nobody said yes")
	}
	soon, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if client.WaitReady(soon) {
		t.Error("nobody is ready")
	}
}
