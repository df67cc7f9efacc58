// A Go client: sends messages, one per line of standard input in Base64, and prints what comes back likewise.
//
// Usage: many TARGET BatchAuthorize|StreamAuthorize|ways [CA [CERTIFICATE KEY]]
//
// With the file of an authority it uses TLS, and with a certificate and its key mTLS.
//
// BatchAuthorize takes one message. StreamAuthorize sends all of them before it reads an answer, as far as flow control
// lets it: one goroutine sends and another one reads, because a Send waits while nobody reads. `ways` is in ways.go.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

const service = "/iamd.v1.AuthorizationService/"

// raw passes messages on as the bytes that they are.
type raw struct{}

func (raw) Marshal(message any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*message.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, message any) error {
	*message.(*[]byte) = data.Materialize()
	return nil
}

func (raw) Name() string { return "proto" }

var _ encoding.CodecV2 = raw{}

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// security returns how to reach a server whose authority and own certificate are in these files.
func security(files []string) (credentials.TransportCredentials, error) {
	if len(files) == 0 {
		return insecure.NewCredentials(), nil
	}
	authority, err := os.ReadFile(files[0])
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(authority) {
		return nil, fmt.Errorf("%s has no certificate", files[0])
	}
	if len(files) == 3 {
		own, err := tls.LoadX509KeyPair(files[1], files[2])
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{own}
	}
	return credentials.NewTLS(config), nil
}

func run(target, method string, files []string) error {
	transport, err := security(files)
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient(
		target,
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{})),
	)
	if err != nil {
		return err
	}
	defer connection.Close()
	if method == "ways" {
		return askManyWays(connection)
	}
	messages, err := read(os.Stdin)
	if err != nil {
		return err
	}
	timeout, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if method == "BatchAuthorize" {
		var answer []byte
		if err := connection.Invoke(timeout, service+method, &messages[0], &answer); err != nil {
			return err
		}
		print(answer)
		return nil
	}
	description := &grpc.StreamDesc{StreamName: method, ServerStreams: true, ClientStreams: true}
	stream, err := connection.NewStream(timeout, description, service+method)
	if err != nil {
		return err
	}
	go func() {
		for i := range messages {
			if stream.SendMsg(&messages[i]) != nil {
				return // the reader learns why
			}
		}
		stream.CloseSend()
	}()
	for {
		var answer []byte
		err := stream.RecvMsg(&answer)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		print(answer)
	}
}

func read(input io.Reader) ([][]byte, error) {
	var messages [][]byte
	lines := bufio.NewReader(input)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF && line == "" {
			return messages, nil
		}
		message, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			return nil, err
		}
		messages = append(messages, message)
	}
}

func print(answer []byte) {
	fmt.Println(base64.StdEncoding.EncodeToString(answer))
}
