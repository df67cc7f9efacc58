package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// told is a call to make. The lines are those of tests/peers/python/test_lives.py.
type told struct {
	Method        string            `json:"method"`
	Message       []byte            `json:"message"`
	Metadata      map[string]string `json:"metadata"`
	TimeoutMs     int               `json:"timeout_ms"`
	CancelAfterMs int               `json:"cancel_after_ms"`
	WaitForReady  bool              `json:"wait_for_ready"`
	RepeatMs      int               `json:"repeat_ms"`
}

// ended says how a call ended, and how often each way came if it was repeated.
type ended struct {
	Code    string         `json:"code"`
	Message []byte         `json:"message"`
	Codes   map[string]int `json:"codes"`
}

// askManyWays makes the call of each line of standard input, and prints how it ended.
func askManyWays(connection *grpc.ClientConn) error {
	lines := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil
		}
		var call told
		if err := json.Unmarshal(line, &call); err != nil {
			return err
		}
		counts := map[string]int{}
		until := time.Now().Add(time.Duration(call.RepeatMs) * time.Millisecond)
		for {
			answer, err := ask(connection, call)
			code := name(status.Code(err))
			counts[code]++
			if time.Now().After(until) {
				if err := out.Encode(ended{Code: code, Message: answer, Codes: counts}); err != nil {
					return err
				}
				break
			}
		}
	}
}

func ask(connection *grpc.ClientConn, call told) ([]byte, error) {
	timeout, cancel := context.WithTimeout(context.Background(), time.Duration(call.TimeoutMs)*time.Millisecond)
	defer cancel()
	if call.CancelAfterMs > 0 {
		time.AfterFunc(time.Duration(call.CancelAfterMs)*time.Millisecond, cancel)
	}
	sent := metadata.NewOutgoingContext(timeout, metadata.New(call.Metadata))
	var answer []byte
	err := connection.Invoke(sent, service+call.Method, &call.Message, &answer, grpc.WaitForReady(call.WaitForReady))
	return answer, err
}

// name spells a code as other languages do.
func name(code codes.Code) string {
	switch code {
	case codes.OK:
		return "OK"
	case codes.Canceled:
		return "CANCELLED"
	case codes.DeadlineExceeded:
		return "DEADLINE_EXCEEDED"
	case codes.OutOfRange:
		return "OUT_OF_RANGE"
	case codes.ResourceExhausted:
		return "RESOURCE_EXHAUSTED"
	case codes.Unavailable:
		return "UNAVAILABLE"
	}
	return code.String()
}
