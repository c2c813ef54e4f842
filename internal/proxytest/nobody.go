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

// RefusePort takes a port of 127.0.0.1, as Refused does, and tells whether it was free.
func RefusePort(t testing.TB, port int) bool {
	t.Helper()
	return bindPort(t, socket(t), port)
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
	fd = socket(t)
	for {
		if port := nextPort(); bindPort(t, fd, port) {
			return fd, fmt.Sprintf("127.0.0.1:%d", port)
		}
	}
}

// socket returns a socket that is open until the test ends.
func socket(t testing.TB) int {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	return fd
}

// bindPort gives a socket a port of 127.0.0.1, and tells whether it was free.
func bindPort(t testing.TB, fd, port int) bool {
	t.Helper()
	err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	if err != nil && !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatal(err)
	}
	return err == nil
}
