// A small order service that asks iamd before it acts. It listens on 127.0.0.1 at PORT and asks iamd at IAMD_ADDRESS.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"example.com/orders/authorizer"
)

//go:generate protoc -I ../../proto --go_out=. --go_opt=module=example.com/orders,Miamd/v1/authorization.proto=example.com/orders/gen/iamd/v1 --go-grpc_out=. --go-grpc_opt=module=example.com/orders,Miamd/v1/authorization.proto=example.com/orders/gen/iamd/v1 iamd/v1/authorization.proto

// caller is the principal and the session behind a request.
type caller struct {
	principal string
	session   *authorizer.Session
}

// callers stands for your own authentication, which says who somebody is.
func callers() map[string]caller {
	now := time.Now()
	alice := "arn:aws:iam::111122223333:user/support/alice"
	return map[string]caller{
		"alice":             {alice, &authorizer.Session{MFAAt: &now}},
		"alice-without-mfa": {alice, nil},
		"customer-1001": {
			"arn:aws:sts::111122223333:assumed-role/customer/web-1001",
			&authorizer.Session{Tags: map[string]string{"customer": "1001"}},
		},
	}
}

// Parts of an ARN are checked before they become one, so that no caller writes ARNs of their own.
var isID = regexp.MustCompile(`^[0-9]{1,12}$`).MatchString

type service struct {
	authorizer authorizer.Authorizer
	callers    map[string]caller
}

func newService(a authorizer.Authorizer) http.Handler {
	s := &service{authorizer: a, callers: callers()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{customer}/{number}", s.readOrder)
	mux.HandleFunc("POST /orders/{customer}/{number}/refund", s.refundOrder)
	mux.HandleFunc("GET /readyz", s.ready)
	return mux
}

// require answers the request and returns false unless the caller may do the action on the order of the path.
func (s *service) require(w http.ResponseWriter, r *http.Request, action string, facts map[string]any) bool {
	known, ok := s.callers[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	if !ok {
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return false
	}
	customer, number := r.PathValue("customer"), r.PathValue("number")
	if !isID(customer) || !isID(number) {
		http.NotFound(w, r)
		return false
	}
	allowed := s.authorizer.IsAllowed(r.Context(), authorizer.Question{
		Principal: known.principal,
		Action:    action,
		Resource:  fmt.Sprintf("arn:app:orders:::order/%s/%s", customer, number),
		Context:   facts,
		Session:   known.session,
	})
	if !allowed {
		http.Error(w, "denied", http.StatusForbidden)
	}
	return allowed
}

func (s *service) readOrder(w http.ResponseWriter, r *http.Request) {
	if s.require(w, r, "orders:Get", nil) {
		reply(w, map[string]any{"customer": r.PathValue("customer"), "number": r.PathValue("number")})
	}
}

func (s *service) refundOrder(w http.ResponseWriter, r *http.Request) {
	var refund struct {
		Amount *float64 `json:"amount"`
	}
	body := http.MaxBytesReader(w, r.Body, 4096)
	if err := json.NewDecoder(body).Decode(&refund); err != nil || refund.Amount == nil {
		http.Error(w, "a refund has an amount", http.StatusBadRequest)
		return
	}
	if s.require(w, r, "orders:Refund", map[string]any{"orders:amount": *refund.Amount}) {
		reply(w, map[string]any{"refunded": *refund.Amount})
	}
}

func (s *service) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 500*time.Millisecond)
	defer cancel()
	if !s.authorizer.WaitReady(ctx) {
		http.Error(w, "iamd is not ready", http.StatusServiceUnavailable)
		return
	}
	reply(w, map[string]any{"ready": true})
}

func reply(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

func main() {
	client, err := authorizer.New(cmp.Or(os.Getenv("IAMD_ADDRESS"), "127.0.0.1:50051"))
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+cmp.Or(os.Getenv("PORT"), "8080"))
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on http://%s", listener.Addr())
	server := &http.Server{Handler: newService(client), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.Serve(listener))
}
