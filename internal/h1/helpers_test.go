package h1

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// socketPair returns the two ends of a connection within this process.
func socketPair() (client, server net.Conn, err error) {
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, err
	}
	if client, err = socketOf(ends[0]); err != nil {
		_ = syscall.Close(ends[1])
		return nil, nil, err
	}
	server, err = socketOf(ends[1])
	return client, server, err
}

func socketOf(fd int) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "socket")
	defer func() { _ = file.Close() }()
	return net.FileConn(file)
}

func newReader(text []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(text)) }

// contextFor returns a context that cannot end, or that ends at any moment.
func contextFor(t testing.TB, n int) (context.Context, context.CancelFunc) {
	if n%5 == 0 {
		return context.WithTimeout(t.Context(), time.Duration(n)*10*time.Microsecond)
	}
	if n%5 == 1 {
		return context.Background(), func() {}
	}
	return context.WithCancel(t.Context())
}
