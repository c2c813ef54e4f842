package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const largeSize = 100 << 10

// runBackend runs a backend, as a child process.
func runBackend(args []string) error {
	set := flag.NewFlagSet("backend", flag.ContinueOnError)
	address := set.String("listen", "", "the address to listen on")
	name := set.String("name", "", "the group it belongs to")
	secure := set.Bool("tls", false, "speak HTTPS with a self-signed certificate")
	full := set.Bool("full", false, "be a whole HTTP server with streams and sockets, instead of a fast one")
	if err := set.Parse(args); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}
	if *secure {
		certificate, err := selfSigned()
		if err != nil {
			return err
		}
		// HTTP/1.1 for all proxies, so that they do the same work
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}})
	}
	if *full {
		server := &http.Server{Handler: newAppServer(*name), ReadHeaderTimeout: time.Minute}
		return server.Serve(listener)
	}
	return newFastBackend(*name).serve(listener)
}

// fastBackend answers requests when it has read them, and does as little as possible for each:
// the measurement is of the proxy.
type fastBackend struct {
	small, large []byte
}

func newFastBackend(name string) fastBackend {
	answer := func(body string) []byte {
		return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	return fastBackend{small: answer(name), large: answer(strings.Repeat("x", largeSize))}
}

func (b fastBackend) serve(listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err == nil {
			go b.answer(conn)
		}
	}
}

func (b fastBackend) answer(conn net.Conn) {
	defer conn.Close()
	requests := bufio.NewReaderSize(conn, 8<<10)
	var scratch []byte
	for {
		line, err := requests.ReadSlice('\n')
		if err != nil {
			return
		}
		answer := b.small
		if bytes.HasPrefix(line, []byte("GET /large")) {
			answer = b.large
		}
		body := 0
		for len(line) > len("\r\n") {
			if line, err = requests.ReadSlice('\n'); err != nil {
				return
			}
			if len(line) > len(lengthField) && bytes.EqualFold(line[:len(lengthField)], lengthField) {
				if body, err = strconv.Atoi(string(bytes.TrimSpace(line[len(lengthField):]))); err != nil {
					return
				}
			}
		}
		if scratch, err = skip(requests, conn, body, scratch); err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

var lengthField = []byte("Content-Length:")

// skip reads n bytes of a body, past the reader's buffer where it is a long one. It returns the
// memory for the next one.
func skip(buffered *bufio.Reader, conn net.Conn, n int, scratch []byte) ([]byte, error) {
	k, err := buffered.Discard(min(n, buffered.Buffered()))
	for n -= k; n > 0 && err == nil; n -= k {
		if scratch == nil {
			scratch = make([]byte, 64<<10)
		}
		k, err = conn.Read(scratch[:min(n, len(scratch))])
	}
	return scratch, err
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "bench"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(30 * 24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
