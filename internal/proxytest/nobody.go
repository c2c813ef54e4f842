//go:build !windows

package proxytest

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// Refused returns an address where nothing listens, nor will while the test runs: the port
// is taken, so that connections to it are refused.
func Refused(t testing.TB) string {
	t.Helper()
	_, addr := bind(t)
	return addr
}

// BlackHole returns an address that swallows connection attempts: its queue is full.
func BlackHole(t testing.TB) string {
	t.Helper()
	fd, addr := bind(t)
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		conn, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("this system keeps accepting connections to a full queue, so that it can have no black hole; run this test on Linux")
	return ""
}

// bind takes a free port of 127.0.0.1 without listening on it.
func bind(t testing.TB) (fd int, addr string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	for {
		port := nextPort()
		err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
		if err == nil {
			return fd, fmt.Sprintf("127.0.0.1:%d", port)
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}
