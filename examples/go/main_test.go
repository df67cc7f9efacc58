package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/orders/authorizer"
)

const order = "arn:app:orders:::order/1001/1"

func ask(fake *authorizer.Fake, method, path, token, body string) int {
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer "+token)
	answer := httptest.NewRecorder()
	newService(fake).ServeHTTP(answer, request)
	return answer.Code
}

func TestARouteAsksForItsOwnActionAndResource(t *testing.T) {
	fake := &authorizer.Fake{Allowed: []authorizer.Permission{{Action: "orders:Get", Resource: order}}}
	if status := ask(fake, "GET", "/orders/1001/1", "customer-1001", ""); status != http.StatusOK {
		t.Error(status)
	}
	if status := ask(fake, "GET", "/orders/1001/2", "alice", ""); status != http.StatusForbidden {
		t.Error(status)
	}
	question := fake.Questions()[0]
	if question.Principal != "arn:aws:sts::111122223333:assumed-role/customer/web-1001" || question.Session.Tags["customer"] != "1001" {
		t.Error(question)
	}
}

func TestARefundSendsItsAmount(t *testing.T) {
	fake := &authorizer.Fake{Allowed: []authorizer.Permission{{Action: "orders:Refund", Resource: order}}}
	if status := ask(fake, "POST", "/orders/1001/1/refund", "alice", `{"amount": 50}`); status != http.StatusOK {
		t.Error(status)
	}
	question := fake.Questions()[0]
	if question.Context["orders:amount"] != 50.0 || question.Session.MFAAt == nil {
		t.Error(question)
	}
}

func TestNobodyIsAskedAboutStrangersAndOddPaths(t *testing.T) {
	fake := &authorizer.Fake{}
	for path, token := range map[string]string{"/orders/1001/1": "stranger", "/orders/1001/*": "alice"} {
		if status := ask(fake, "GET", path, token, ""); status != http.StatusUnauthorized && status != http.StatusNotFound {
			t.Error(path, status)
		}
	}
	if questions := fake.Questions(); len(questions) != 0 {
		t.Error(questions)
	}
}

func TestReadinessIsThatOfIamd(t *testing.T) {
	if status := ask(&authorizer.Fake{}, "GET", "/readyz", "", ""); status != http.StatusOK {
		t.Error(status)
	}
	if status := ask(&authorizer.Fake{NotReady: true}, "GET", "/readyz", "", ""); status != http.StatusServiceUnavailable {
		t.Error(status)
	}
}
