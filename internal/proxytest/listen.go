package proxytest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// FreeAddr returns an address of 127.0.0.1 on which nobody listens.
func FreeAddr(t testing.TB) string {
	t.Helper()
	listener := Listen(t, "")
	_ = listener.Close()
	return listener.Addr().String()
}

// Listen listens on an address until the test ends. Where another process has it at the
// moment, it waits for it. A host alone gets a free port, and so does 127.0.0.1 if addr is
// empty. A port alone, such as ":8443", is that of some loopback address, as ListenPort has it.
func Listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1"
	}
	if port, isPort := strings.CutPrefix(addr, ":"); isPort {
		number, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		return ListenPort(t, number)
	}
	if strings.Contains(addr, ":") {
		return listen(t, "tcp", addr)
	}
	for range portBlocks * portsInBlock {
		free := net.JoinHostPort(addr, strconv.Itoa(nextPort()))
		listener, err := net.Listen("tcp", free)
		if err == nil {
			t.Cleanup(func() { _ = listener.Close() })
			return listener
		}
		failWithoutAddress(t, free, err)
	}
	t.Fatalf("no port of %s is free", addr)
	return nil
}

// ListenPort listens on a port of some loopback address other than 127.0.0.1, for tests in
// which the port means something.
func ListenPort(t testing.TB, port int) net.Listener {
	t.Helper()
	for host := 40; host < 250; host++ {
		addr := fmt.Sprintf("127.0.0.%d:%d", host, port)
		listener, err := net.Listen("tcp", addr)
		if err == nil {
			t.Cleanup(func() { _ = listener.Close() })
			return listener
		}
		failWithoutAddress(t, addr, err)
	}
	t.Fatalf("port %d is taken on all loopback addresses", port)
	return nil
}

// ListenUnix listens on a unix socket.
func ListenUnix(t testing.TB) net.Listener {
	t.Helper()
	return listen(t, "unix", SocketPath(t))
}

// SocketPath returns a path for a unix socket, which is shorter than one in t.TempDir.
func SocketPath(t testing.TB) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "sock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	return filepath.Join(folder, "app.sock")
}

func listen(t testing.TB, network, addr string) net.Listener {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		listener, err := net.Listen(network, addr)
		if err == nil {
			t.Cleanup(func() { _ = listener.Close() })
			return listener
		}
		failWithoutAddress(t, addr, err)
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			t.Fatalf("listening on %s: %v", addr, err)
		}
	}
}

// failWithoutAddress fails the test, and says what to do, where the system has no such
// loopback address: Linux has all of 127.0.0.0/8, others only 127.0.0.1.
func failWithoutAddress(t testing.TB, addr string, err error) {
	t.Helper()
	if !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return
	}
	host, _, _ := net.SplitHostPort(addr)
	advice := "give the loopback interface the address " + host
	if runtime.GOOS == "darwin" {
		advice = "run sudo ifconfig lo0 alias " + host + " up"
	}
	t.Fatalf("this test needs to listen on %s, an address that this system does not have: %s, and run the test again", addr, advice)
}

// PortOf returns the port of host:port.
func PortOf(t testing.TB, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
