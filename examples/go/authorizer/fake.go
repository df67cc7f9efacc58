package authorizer

import (
	"context"
	"sync"
)

// Permission is an action on a resource.
type Permission struct{ Action, Resource string }

// Fake stands in for a Client in unit tests: it allows the given permissions, and nothing else.
type Fake struct {
	Allowed  []Permission
	NotReady bool

	mutex     sync.Mutex
	questions []Question
}

// IsAllowed notes the question. It panics where iamd could not be asked, so that the test fails.
func (f *Fake) IsAllowed(_ context.Context, question Question) bool {
	if _, err := toRequest(question); err != nil {
		panic(err)
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.questions = append(f.questions, question)
	for _, permission := range f.Allowed {
		if permission == (Permission{question.Action, question.Resource}) {
			return true
		}
	}
	return false
}

// WaitReady does not wait.
func (f *Fake) WaitReady(context.Context) bool { return !f.NotReady }

// Questions returns what was asked.
func (f *Fake) Questions() []Question {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return append([]Question(nil), f.questions...)
}
